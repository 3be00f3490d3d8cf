/* SPDX-License-Identifier: BSD-3-Clause */
/* cmocka with the headers that it needs before its own. */
#ifndef TEST_CMOCKA_TEST_H
#define TEST_CMOCKA_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
