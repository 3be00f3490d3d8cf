/* SPDX-License-Identifier: BSD-3-Clause */
/* Results, printed as they come: as one JSON object, or as indented lines for a person. */
#include "bench.h"

#include <math.h>
#include <stdio.h>

static int json;
static int depth;
static int first = 1; /* nothing printed yet at this depth */

static void begin_item(const char *key)
{
	if (json) {
		printf("%s\n%*s", first ? "" : ",", depth, "");
		if (key)
			printf("\"%s\": ", key);
	}
	first = 0;
}

static void open_level(char bracket)
{
	if (json)
		putchar(bracket);
	depth++;
	first = 1;
}

static void close_level(char bracket)
{
	depth--;
	first = 0;
	if (json)
		printf("%c", bracket);
	else
		putchar('\n');
	fflush(stdout);
}

void json_begin(int as_json)
{
	json = as_json;
	if (json)
		putchar('{');
	depth = 1;
	json_value("schema", 1);
}

void json_end(void)
{
	if (json)
		printf("\n}\n");
}

void json_value(const char *key, double value)
{
	begin_item(key);
	if (json)
		printf("%.*f", value == floor(value) ? 0 : 3, value);
	else if (depth == 1)
		printf("%s %.10g\n", key, value);
	else
		printf("  %s %.*f", key, value == floor(value) ? 0 : 2, value);
}

void json_object(const char *key)
{
	begin_item(key);
	if (!json && key)
		printf("%s\n", key);
	open_level('{');
}

void json_object_end(void)
{
	close_level('}');
}

void json_list(const char *key)
{
	begin_item(key);
	if (!json)
		printf("%s\n", key);
	open_level('[');
}

void json_list_end(void)
{
	depth--;
	first = 0;
	if (json)
		putchar(']');
}
