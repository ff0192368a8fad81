/* version: see version.h. Libraries whose header another file keeps tell their version through that file. */
#include "version.h"

#include "document.h"
#include "front.h"
#include "http.h"
#include "tls.h"

#include <uv.h>

void version_print(FILE *out)
{
    fprintf(out, "weir %s\n", WEIR_VERSION);
    fprintf(out, "  %s\n", front_library());
    fprintf(out, "  %s\n", http_library());
    fprintf(out, "  %s\n", document_library());
    fprintf(out, "  libuv %s\n", uv_version_string());
    fprintf(out, "  %s\n", tls_library());
}
