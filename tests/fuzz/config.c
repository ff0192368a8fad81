/* config: any bytes are a configuration whose indexes and bounds hold, or errors that say where. */
#include "config.h"
#include "check.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A file that is only in memory, written anew for each input. */
static const char *path_of(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static char path[32];
    if (fd < 0) {
        fd = memfd_create("config", MFD_CLOEXEC);
        CHECK(fd >= 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    CHECK(ftruncate(fd, 0) == 0);
    CHECK(pwrite(fd, data, size, 0) == (ssize_t)size);
    return path;
}

static void check_errors(const struct config_errors *errors)
{
    CHECK(errors->count > 0);
    for (size_t i = 0; i < errors->count; i++) {
        const struct config_error *error = &errors->list[i];
        CHECK(error->sentence[0] != '\0');
        CHECK((error->line > 0) == (error->column > 0));
        CHECK(i == 0 || error->line == 0 || error->line >= errors->list[i - 1].line);
        for (const char *c = error->sentence; *c != '\0'; c++) {
            CHECK((unsigned char)*c >= 0x20 && *c != 0x7f);
        }
    }
}

static void check_route(const struct config *config, const struct config_route *route)
{
    CHECK(route->name != NULL && route->path != NULL && route->path[0] == '/');
    CHECK((route->upstream >= 0) == (route->respond == NULL));
    CHECK(route->upstream < (int)config->upstream_count);
    for (size_t i = 0; i < route->limit_count; i++) {
        CHECK(route->limits[i] < config->limit_count);
        const struct config_limit *limit = &config->limits[route->limits[i]];
        CHECK(limit->kind == CONFIG_LIMIT_CONCURRENCY || route->cost.header != NULL ||
              route->cost.constant <= limit->burst);
    }
}

static void check_config(const struct config *config)
{
    CHECK(config->listen_count > 0 && config->route_count > 0);
    CHECK(strlen(config->digest) == 16);
    for (size_t i = 0; i < config->listen_count; i++) {
        CHECK(config->listens[i].text != NULL);
    }
    for (size_t i = 0; i < config->upstream_count; i++) {
        CHECK(config->upstreams[i].server_count > 0 && config->upstreams[i].connections > 0);
    }
    for (size_t i = 0; i < config->limit_count; i++) {
        const struct config_limit *limit = &config->limits[i];
        CHECK(limit->source_count > 0);
        CHECK(limit->kind == CONFIG_LIMIT_RATE ? limit->burst > 0 && limit->rate.tokens > 0 && limit->keys >= 8
                                               : limit->concurrency > 0);
    }
    for (size_t i = 0; i < config->route_count; i++) {
        check_route(config, &config->routes[i]);
    }
    CHECK(!config->admin.enabled || config->admin.token != NULL || rule_ip_is_loopback(&config->admin.address.ip));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_errors errors;
    struct config *config = config_load(path_of(data, size), &errors);
    if (config == NULL) {
        check_errors(&errors);
    } else {
        CHECK(errors.count == 0);
        check_config(config);
    }
    config_errors_free(&errors);
    config_free(&config);
    return 0;
}
