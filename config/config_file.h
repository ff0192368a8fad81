/* config_file: a whole small file, read in bounded time and memory, whatever the path turns out to be. */
#ifndef WEIR_CONFIG_FILE_H
#define WEIR_CONFIG_FILE_H

#include "arena.h"

/* The bytes and a NUL behind them; or NULL and a sentence in *problem when the path names anything but a readable
 * regular file of at most `most` bytes. Never blocks on a FIFO or a device. */
char *config_file_read(struct arena *arena, const char *path, size_t most, size_t *length, const char **problem);

/* NULL when the path names a regular file that can be opened; else a sentence. Reads nothing. */
const char *config_file_check(struct arena *arena, const char *path);

/* `name` as seen from the directory of the file `beside`; absolute names as they are. */
char *config_file_beside(struct arena *arena, const char *beside, const char *name);

#endif
