/* version: what this binary is made of. */
#ifndef WEIR_VERSION_H
#define WEIR_VERSION_H

#include <stdio.h>

void version_print(FILE *out);

#endif
