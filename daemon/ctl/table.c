/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/table.h"

#include <errno.h>
#include <string.h>

#include "util/text.h"

typedef struct Cell {
        char *text;
        size_t width;
        Style style;
} Cell;

typedef struct Note {
        char *text;
        size_t below; /* how many cells stand above it */
        Style style;
} Note;

struct Table {
        size_t n_columns, n_headings;
        bool color, failed, wrap;
        bool *right;
        Cell *cells;
        size_t n_cells, capacity;
        Note *notes;
        size_t n_notes;
};

/* The code point at *p, which moves on; 0 at the end. What isn't UTF-8 counts as '?', byte by byte. */
static uint32_t next_code(const char **p)
{
        const char *text = *p;
        unsigned char first = (unsigned char) *text;
        size_t size = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
        uint32_t code;

        if (first == 0)
                return 0;
        if (strnlen(text, size) < size || !text_is_utf8(text, size)) {
                (*p)++;
                return '?';
        }
        *p += size;
        if (size == 1)
                return first;
        code = first & (0x7f >> size);
        for (size_t i = 1; i < size; i++)
                code = code << 6 | ((unsigned char) text[i] & 0x3f);
        return code;
}

typedef struct Range {
        uint32_t first, last;
} Range;

static bool in_ranges(uint32_t code, const Range *ranges, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (code >= ranges[i].first && code <= ranges[i].last)
                        return true;
        return false;
}

/* Controls, and what turns the direction of writing around. */
static bool is_hostile(uint32_t code)
{
        static const Range hostile[] = {
                {0x01, 0x1f}, {0x7f, 0x9f}, {0x2028, 0x202e}, {0x2066, 0x2069}, {0xfff9, 0xfffb}};

        return in_ranges(code, hostile, ELEMENTSOF(hostile));
}

static size_t code_width(uint32_t code)
{
        static const Range none[] = {{0x300, 0x36f}, {0x200b, 0x200f}, {0xfe00, 0xfe0f}, {0xfeff, 0xfeff}};
        static const Range wide[] = {{0x1100, 0x115f}, {0x2e80, 0xa4cf}, {0xac00, 0xd7a3}, {0xf900, 0xfaff},
                {0xfe30, 0xfe6f}, {0xff00, 0xff60}, {0xffe0, 0xffe6}, {0x1f300, 0x1faff},
                {0x20000, 0x3fffd}};

        if (in_ranges(code, none, ELEMENTSOF(none)))
                return 0;
        return in_ranges(code, wide, ELEMENTSOF(wide)) ? 2 : 1;
}

size_t text_width(const char *text)
{
        size_t width = 0;
        uint32_t code;

        while ((code = next_code(&text)) != 0)
                width += code_width(code);
        return width;
}

/* Where the text has to end for that many columns. */
static const char *cut_at(const char *text, size_t columns)
{
        size_t width = 0;

        for (;;) {
                const char *next = text;
                uint32_t code = next_code(&next);

                if (code == 0 || (width += code_width(code)) > columns)
                        return text;
                text = next;
        }
}

char *text_clean(const char *text, size_t max)
{
        const char *end = text + strlen(text);
        bool cut = max > 0 && text_width(text) > max;
        char *clean, *to;

        if (cut)
                end = cut_at(text, max - 1);
        to = clean = malloc((size_t) (end - text) + sizeof("…"));
        if (!clean)
                return NULL;
        while (text < end) {
                const char *from = text;
                uint32_t code = next_code(&text);

                if (code == '\n' || code == '\t') {
                        *to++ = ' ';
                } else if (is_hostile(code) || code == '?') {
                        *to++ = '?';
                } else {
                        memcpy(to, from, (size_t) (text - from));
                        to += text - from;
                }
        }
        strcpy(to, cut ? "…" : "");
        return clean;
}

static void print_styled(FILE *file, bool color, Style style, const char *clean)
{
        static const char *const escapes[] = {
                [STYLE_PLAIN] = "",
                [STYLE_BOLD] = "\033[1m",
                [STYLE_DIM] = "\033[2m",
                [STYLE_GOOD] = "\033[32m",
                [STYLE_BUSY] = "\033[33m",
                [STYLE_BAD] = "\033[31m",
        };

        if (color && style != STYLE_PLAIN && *clean)
                fprintf(file, "%s%s\033[0m", escapes[style], clean);
        else
                fputs(clean, file);
}

void style_print(FILE *file, bool color, Style style, const char *text)
{
        _cleanup_(freep) char *clean = text_clean(text, 0);

        print_styled(file, color, style, clean ? clean : "?");
}

/* Where a line has to end that begins here: at the blank behind its last word that fits, or in the middle of
 * one that is too long. */
static const char *end_of_line(const char *text, size_t columns)
{
        const char *end = cut_at(text, columns), *word = end;

        if (end == text)
                next_code(&end); /* some progress */
        if (*word != '\0' && *word != ' ')
                while (word > text && word[-1] != ' ')
                        word--;
        if (word == text)
                return end;
        while (word > text && word[-1] == ' ')
                word--;
        return word;
}

int style_print_lines(FILE *file, bool color, Style style, const char *text, const char *indent, size_t max)
{
        _cleanup_(freep) char *clean = text_clean(text, 0);
        size_t taken = text_width(indent), columns = max > taken ? max - taken : max > 0 ? 1 : SIZE_MAX;

        if (!clean)
                return -ENOMEM;
        for (const char *line = clean, *end; *line; line = end) {
                _cleanup_(freep) char *piece = NULL;

                end = end_of_line(line, columns);
                piece = strndup(line, (size_t) (end - line));
                if (!piece)
                        return -ENOMEM;
                while (*end == ' ')
                        end++;
                fputs(indent, file);
                print_styled(file, color, style, piece);
                fputc('\n', file);
        }
        return 0;
}

Table *table_new(size_t n_columns, const char *const *headings, bool color)
{
        _cleanup_(table_freep) Table *table = calloc(1, sizeof(Table));

        if (!table)
                return NULL;
        *table = (Table){
                .n_columns = n_columns,
                .color = color,
                .right = calloc(n_columns, sizeof(bool)),
        };
        if (!table->right)
                return NULL;
        for (size_t i = 0; headings && i < n_columns; i++)
                table_add(table, STYLE_BOLD, headings[i]);
        table->n_headings = headings ? n_columns : 0;
        return TAKE_PTR(table);
}

Table *table_free(Table *table)
{
        if (!table)
                return NULL;
        for (size_t i = 0; i < table->n_cells; i++)
                free(table->cells[i].text);
        free(table->cells);
        for (size_t i = 0; i < table->n_notes; i++)
                free(table->notes[i].text);
        free(table->notes);
        free(table->right);
        free(table);
        return NULL;
}

void table_align_right(Table *table, size_t column)
{
        if (table)
                table->right[column] = true;
}

void table_wrap(Table *table)
{
        if (table)
                table->wrap = true;
}

void table_add(Table *table, Style style, const char *text)
{
        char *clean;

        if (!table || table->failed)
                return;
        if (table->n_cells == table->capacity) {
                size_t capacity = table->capacity > 0 ? 2 * table->capacity : 64;
                Cell *cells = reallocarray(table->cells, capacity, sizeof(Cell));

                if (!cells) {
                        table->failed = true;
                        return;
                }
                table->cells = cells;
                table->capacity = capacity;
        }
        clean = text_clean(text ? text : "", 0);
        if (!clean) {
                table->failed = true;
                return;
        }
        table->cells[table->n_cells++] = (Cell){.text = clean, .width = text_width(clean), .style = style};
}

void table_add_note(Table *table, Style style, const char *text)
{
        Note *notes;

        if (!table || table->failed || !text || !*text)
                return;
        notes = reallocarray(table->notes, table->n_notes + 1, sizeof(Note));
        if (notes) {
                table->notes = notes;
                notes[table->n_notes] =
                        (Note){.text = strdup(text), .below = table->n_cells, .style = style};
        }
        if (!notes || !notes[table->n_notes].text)
                table->failed = true;
        else
                table->n_notes++;
}

/* How wide each column is; 0 for those that have nothing but a heading. */
static void measure(const Table *table, size_t *widths)
{
        for (size_t column = 0; column < table->n_columns; column++) {
                bool used = false;

                widths[column] = 0;
                for (size_t i = column; i < table->n_cells; i += table->n_columns) {
                        widths[column] = MAX(widths[column], table->cells[i].width);
                        used = used || (i >= table->n_headings && table->cells[i].width > 0);
                }
                if (!used)
                        widths[column] = 0;
        }
}

/* From this column on, each line of it. */
static int print_wrapped(
        const Table *table, const Cell *cell, FILE *file, const char *indent, size_t at, size_t max)
{
        for (const char *line = cell->text, *end; *line; line = end) {
                _cleanup_(freep) char *piece = NULL;

                end = end_of_line(line, max - at);
                piece = strndup(line, (size_t) (end - line));
                if (!piece)
                        return -ENOMEM;
                while (*end == ' ')
                        end++;
                if (line != cell->text)
                        fprintf(file, "\n%s%*s", indent, (int) (at - text_width(indent)), "");
                print_styled(file, table->color, cell->style, piece);
        }
        return 0;
}

static int print_row(const Table *table, const Cell *row, size_t n, const size_t *widths, FILE *file,
        const char *indent, size_t max)
{
        size_t at = text_width(indent), pending = 0;

        fputs(indent, file);
        for (size_t column = 0; column < n; column++) {
                _cleanup_(freep) char *cut = NULL;
                const char *text = row[column].text;
                size_t fill;

                if (widths[column] == 0)
                        continue;
                fill = widths[column] - row[column].width;
                if (table->right[column])
                        pending += fill;
                if (row[column].width > 0) {
                        fprintf(file, "%*s", (int) pending, "");
                        at += pending;
                        pending = 0;
                        if (column + 1 == table->n_columns && max > at + 1 && row[column].width > max - at) {
                                if (table->wrap) {
                                        if (print_wrapped(table, &row[column], file, indent, at, max) < 0)
                                                return -ENOMEM;
                                        break;
                                }
                                text = cut = text_clean(text, max - at);
                                if (!cut)
                                        return -ENOMEM;
                        }
                        print_styled(file, table->color, row[column].style, text);
                        at += row[column].width;
                }
                pending += (table->right[column] ? 0 : fill) + 2;
        }
        fputc('\n', file);
        return 0;
}

/* Those that stand below this many cells, from the next note on. */
static int print_notes(
        const Table *table, size_t n_cells, size_t *next, FILE *file, const char *indent, size_t max)
{
        _cleanup_(freep) char *deeper = text_printf("%s    ", indent);

        if (!deeper)
                return -ENOMEM;
        for (; *next < table->n_notes && table->notes[*next].below <= n_cells; ++*next) {
                const Note *note = &table->notes[*next];
                int r = style_print_lines(file, table->color, note->style, note->text, deeper, max);

                if (r < 0)
                        return r;
        }
        return 0;
}

int table_print(const Table *table, FILE *file, const char *indent, size_t max)
{
        _cleanup_(freep) size_t *widths = NULL;
        size_t note = 0;

        if (!table || table->failed)
                return -ENOMEM;
        widths = calloc(table->n_columns, sizeof(size_t));
        if (!widths)
                return -ENOMEM;
        measure(table, widths);
        for (size_t i = 0; i < table->n_cells; i += table->n_columns) {
                int r = print_row(table, &table->cells[i], MIN(table->n_columns, table->n_cells - i), widths,
                        file, indent, max);

                if (r >= 0)
                        r = print_notes(table, i + table->n_columns, &note, file, indent, max);
                if (r < 0)
                        return r;
        }
        return 0;
}
