/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Text in columns, for people. What goes in may come from anywhere (a plugin's error, a value): control
 * characters don't come out, so that nobody takes over the terminal. Pure.
 */

#include "util/macros.h"

typedef enum Style {
        STYLE_PLAIN,
        STYLE_BOLD,
        STYLE_DIM,
        STYLE_GOOD, /* green */
        STYLE_BUSY, /* yellow */
        STYLE_BAD,  /* red */
} Style;

/* Columns that it takes on a terminal. */
size_t text_width(const char *text);
/* A copy that is safe to print, on one line and at most max columns wide (0: any), with … where it was cut.
 * NULL when out of memory. */
char *text_clean(const char *text, size_t max);
/* Cleaned, and in colour if there is any. */
void style_print(FILE *file, bool color, Style style, const char *text);
/* The same as lines of their own, each behind the indent, broken between words where one would be wider than
 * max columns (0: one line). 0 or -ENOMEM. */
int style_print_lines(FILE *file, bool color, Style style, const char *text, const char *indent, size_t max);

typedef struct Table Table;

/* headings: one for each column, or NULL for a table without. color: with escape sequences. NULL when out of
 * memory. */
Table *table_new(size_t n_columns, const char *const *headings, bool color);
Table *table_free(Table *table);
DEFINE_CLEANUP(Table, table_free);

/* Numbers: flush right. */
void table_align_right(Table *table, size_t column);
/* The last column goes on in the next line, where it would be cut otherwise. */
void table_wrap(Table *table);
/* The next cell, from left to right, row by row; NULL is an empty one. A table that ran out of memory stays
 * failed: table_print() says it. */
void table_add(Table *table, Style style, const char *text);
/* Sentences, on lines of their own below the row that is complete by now. NULL or empty: none. */
void table_add_note(Table *table, Style style, const char *text);
/* Where a line would be wider than max columns (0: any), its last column is cut, and a note goes on in the
 * next line. Columns in which there is nothing but a heading are left out, and so are blanks at the end. 0
 * or -ENOMEM. */
int table_print(const Table *table, FILE *file, const char *indent, size_t max);
