/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fletcher-4, the checksum by which ZFS recognises damaged blocks: short, portable, and about as
 * fast as a copy from memory to memory. (OpenZFS, module zcommon, fletcher_4)
 */
#include "demo.h"

#include <string.h>

struct checksum checksum_of(const char *bytes, size_t size)
{
	uint64_t a = 0, b = 0, c = 0, d = 0;

	for (size_t i = 0; i < size; i += sizeof(uint32_t)) {
		uint32_t word;

		memcpy(&word, bytes + i, sizeof word);
		a += word;
		b += a;
		c += b;
		d += c;
	}
	return (struct checksum){{a, b, c, d}};
}
