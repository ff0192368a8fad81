/* cell: the memory that cells live in. */
#include "cell.h"

#include <string.h>

void *cell_allocate(size_t bytes)
{
    const size_t huge_page = (size_t)2 << 20, lines = 128;
    const size_t alignment = bytes >= huge_page ? huge_page : lines;
    const size_t rounded = (bytes + alignment - 1) / alignment * alignment; /* aligned_alloc() wants whole alignments */
    void *memory = aligned_alloc(alignment, rounded);
    if (memory != NULL) {
        memset(memory, 0, rounded);
    }
    return memory;
}
