/* arena: memory that is released together.
 *
 * A configuration is built once, read for hours and dropped as a whole; so is the tree of its JSON text. Both are made
 * of pieces of an arena, and nothing in them is freed by itself. Each piece is an allocation of its own, so that
 * AddressSanitizer sees its edges.
 *
 * When memory is short, arena_take() does not return: it jumps to where the owner said
 * `setjmp(*arena->short_of_memory)`. Whoever takes from an arena must hold nothing that the jump would leak: no open
 * file, no allocation outside of arenas.
 */
#ifndef WEIR_ARENA_H
#define WEIR_ARENA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

struct arena_piece;
struct arena {
    struct arena_piece *pieces;
    jmp_buf *short_of_memory;
};

/* Zeroed, aligned for anything, never NULL. `size` may be 0. */
__attribute__((returns_nonnull, malloc)) void *arena_take(struct arena *arena, size_t count, size_t size);

/* A copy of `length` bytes, and a NUL. */
__attribute__((returns_nonnull)) char *arena_copy(struct arena *arena, const char *text, size_t length);

/* printf into memory of its own. */
__attribute__((returns_nonnull, format(printf, 2, 3))) char *arena_print(struct arena *arena, const char *format, ...);
__attribute__((returns_nonnull, format(printf, 2, 0))) char *arena_print_list(struct arena *arena, const char *format,
                                                                              va_list arguments);

void arena_release(struct arena *arena);

#endif
