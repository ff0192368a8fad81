/* sink: where the access log's lines go: standard output, standard error or a file that is reopened after rotation.
 *
 * It never waits: what cannot be written now stays with the caller, who comes back later. A disk that is full, a pipe
 * whose reader is slow or gone, a file that was deleted are things to report, not to die of. A line that was begun is
 * continued at the very byte where writing stopped, so a log that recovers has no half lines. One thread.
 */
#ifndef WEIR_SINK_H
#define WEIR_SINK_H

#include "check.h"
#include "request.h"

struct sink {
    int fd;
    char *path;       /* NULL: a standard stream, which is neither reopened nor closed */
    size_t most;      /* bytes per write */
    int error;        /* errno of the last write, 0 when it went well; a slow reader is no error */
    bool inside_line; /* the last byte written was not the end of a line */
    bool skips_line;  /* the rest of a line begun in a file that was left behind does not go to the next */
    uint64_t cut;     /* lines lost by that */
};

/* `path` NULL: `fd` is used as it is. False with errno when that cannot be written to. */
MUST_CHECK bool sink_init(struct sink *sink, const char *path, int fd);
void sink_fini(struct sink *sink);

/* Opens the path again: a new file when the old was renamed. False with errno, and the old file stays in use. */
MUST_CHECK bool sink_reopen(struct sink *sink);

/* Writes of whole lines, in up to two pieces (not nothing), what it can at once. Returns how many bytes the caller
 * may forget; 0: none now, see `error`. SIGPIPE and SIGXFSZ must be blocked or ignored. */
size_t sink_write(struct sink *sink, const struct slice pieces[static 2]);

#endif
