/* check: where CHECK() and COUNT_IF() end up. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>

_Atomic uint64_t check_surprises;

void check_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "weir: %s:%d: this cannot be: %s is false; stopping (please report it)\n", file, line, condition);
    abort();
}
