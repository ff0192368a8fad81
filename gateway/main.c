/* weir: arguments → command. */
#include "check.h"
#include "config.h"
#include "front.h"
#include "health.h"
#include "server.h"
#include "tls.h"
#include "version.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct command {
    const char *name, *arguments, *summary, *details;
    int (*run)(int argc, char **argv); /* what follows the name */
};

static int command_run(int argc, char **argv);
static int command_check(int argc, char **argv);
static int command_healthcheck(int argc, char **argv);
static int command_version(int argc, char **argv);
static int command_help(int argc, char **argv);

static const struct command commands[] = {
    { "run", "CONFIG.json", "serve",
      "Serves until SIGTERM or SIGINT, then drains: no new connections, requests in flight finish (at most "
      "timeouts.shutdown), exit 0.\n"
      "SIGHUP reloads the config: requests in flight end under the old one, limits keep their state; a file with "
      "errors changes nothing.\n"
      "SIGUSR1 reopens the access log after rotation.\n",
      command_run },
    { "check", "CONFIG.json", "validate a config and exit",
      "Exit 0, or 1 with every error as file:line:column: json.path: sentence. Binds nothing.\n", command_check },
    { "healthcheck", "[URL]", "ask a running weir whether it lives",
      "Gets URL (default http://127.0.0.1:9901/healthz) and exits 0 when the answer is 200: for a container's "
      "HEALTHCHECK.\n",
      command_healthcheck },
    { "version", "", "version, and the versions of every library in use", "", command_version },
    { "help", "[COMMAND]", "this text, or more about one command", "", command_help },
};
#define COMMANDS (sizeof commands / sizeof commands[0])

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

static int usage(FILE *out, int code)
{
    fprintf(out, "weir: a throttling gateway in front of HTTP APIs\n\nusage: weir COMMAND [ARGUMENT]\n\n");
    for (size_t i = 0; i < COMMANDS; i++) {
        fprintf(out, "  %-12s %-12s %s\n", commands[i].name, commands[i].arguments, commands[i].summary);
    }
    fprintf(out, "\nTry: weir run config/demo.json\n");
    return code;
}

static struct config *load(int argc, char **argv, const char *command, int *code)
{
    struct config_errors errors;
    if (argc != 1) {
        fprintf(stderr, "weir: usage: weir %s CONFIG.json\n", command);
        *code = 2;
        return NULL;
    }
    struct config *config = config_load(argv[0], &errors);
    if (config == NULL) {
        config_errors_print(&errors, stderr);
        *code = 1;
    }
    config_errors_free(&errors);
    return config;
}

static int command_run(int argc, char **argv)
{
    int code = 0;
    struct config *config = load(argc, argv, "run", &code);
    return config != NULL ? server_run(config) : code;
}

static const char *plural(size_t count)
{
    return count == 1 ? "" : "s";
}

static int command_check(int argc, char **argv)
{
    int code = 0;
    struct config *config = load(argc, argv, "check", &code);
    const char *bad = config != NULL ? tls_check(config) : NULL;
    if (bad != NULL) {
        fprintf(stderr, "%s: %s\n", argv[0], bad);
        config_free(&config);
        return 1;
    }
    if (config != NULL) {
        size_t routes = config->route_count, limits = config->limit_count, upstreams = config->upstream_count;
        printf("%s: ok: %zu route%s, %zu limit%s, %zu upstream%s\n", argv[0], routes, plural(routes), limits,
               plural(limits), upstreams, plural(upstreams));
        config_free(&config);
    }
    return code;
}

static int command_healthcheck(int argc, char **argv)
{
    if (argc > 1) {
        fprintf(stderr, "weir: usage: weir healthcheck [URL]\n");
        return 2;
    }
    return health_ask(argc == 1 ? argv[0] : "http://127.0.0.1:9901/healthz");
}

static int command_version(int argc, char **argv)
{
    (void)argv;
    if (argc > 0) {
        fprintf(stderr, "weir: usage: weir version\n");
        return 2;
    }
    version_print(stdout);
    return 0;
}

static int command_help(int argc, char **argv)
{
    if (argc == 0) {
        return usage(stdout, 0);
    }
    if (argc > 1) {
        fprintf(stderr, "weir: usage: weir help [COMMAND]\n");
        return 2;
    }
    const struct command *command = find_command(argv[0]);
    if (command == NULL) {
        fprintf(stderr, "weir: no command \"%s\"; weir help lists them\n", argv[0]);
        return 2;
    }
    printf("usage: weir %s %s\n\n%s.\n%s", command->name, command->arguments, command->summary, command->details);
    return 0;
}

/* What was printed has arrived, or the command has failed. */
static int printed(int code)
{
    if (fflush(stdout) == 0) {
        return code;
    }
    fprintf(stderr, "weir: cannot write to standard output: %s\n", strerror(errno));
    return code != 0 ? code : 1;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        return usage(stderr, 2);
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        name = "help";
    } else if (strcmp(name, "--version") == 0 || strcmp(name, "-v") == 0) {
        name = "version";
    }
    const struct command *command = find_command(name);
    if (command == NULL) {
        fprintf(stderr, "weir: no command \"%s\"; weir help lists them\n", name);
        return 2;
    }
    if (argc == 3 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0)) {
        return printed(command_help(1, argv + 1));
    }
    return printed(command->run(argc - 2, argv + 2));
}
