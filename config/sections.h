/* sections: the parts of a configuration file, each read by a file of its own. */
#ifndef WEIR_SECTIONS_H
#define WEIR_SECTIONS_H

#include "members.h"

/* Every member of the whole file: the root that all other tables hang from. */
extern const struct members config_members;

/* Tables of objects. */
extern const struct members config_listen_members, config_tls_members, config_client_ip_members,
    config_timeouts_members, config_sizes_members;
extern const struct members config_upstream_members;
extern const struct members config_limit_members;
extern const struct members config_route_members;
extern const struct members config_admin_members, config_log_members, config_state_members;

/* Readers of the rows of config_members; `into` is the struct config. */
member_reader config_clients_listens, config_clients_workers, config_clients_trusted;
member_reader config_upstreams_read, config_limits_read, config_routes_read, config_admin_read;

/* What can only be judged, or divided, when the whole file has been read. */
void config_clients_check(struct load *load, const struct document_value *root);
void config_upstreams_check(struct load *load, const struct document_value *root);
void config_limits_divide_keys(struct config *config);

/* Networks from a list of strings: trusted proxies, exempt clients. */
void config_clients_networks(struct load *load, const struct document_value *value, struct rule_network **networks,
                             size_t *count);

#endif
