/* config_schema: weir.schema.json says what the member tables say. The tables are what is accepted; whoever adds a row
 * and forgets the schema fails here, and the other way round. */
#include "config_file.h"
#include "config_text.h"
#include "document.h"
#include "sections.h"
#include "values.h"

struct schema {
    struct arena arena;
    const struct document_value *root;
    const char *checked[32]; /* tables that were compared, by name */
    size_t checked_count;
};

static int read_schema(void **state)
{
    struct schema *schema = calloc(1, sizeof *schema);
    size_t length;
    const char *problem = NULL;
    struct document_fault fault;
    const char *text = config_file_read(&schema->arena, "config/weir.schema.json", DOCUMENT_MAX, &length, &problem);
    if (text == NULL) {
        fail_msg("config/weir.schema.json: %s", problem);
    }
    schema->root = document_parse(&schema->arena, text, length, &fault);
    *state = schema;
    return schema->root == NULL ? -1 : 0;
}

static int free_schema(void **state)
{
    struct schema *schema = *state;
    arena_release(&schema->arena);
    free(schema);
    return 0;
}

static const struct document_value *at(const struct document_value *object, const char *name, const char *where)
{
    const struct document_value *value = document_member(object, name);
    if (value == NULL) {
        fail_msg("%s: the schema has no \"%s\"", where, name);
    }
    return value;
}

static void assert_number(const struct document_value *schema, const char *name, uint64_t expected, const char *where)
{
    const struct document_value *value = at(schema, name, where);
    if (value->kind != DOCUMENT_NUMBER || strtoull(value->text, NULL, 10) != expected) {
        fail_msg("%s: %s is %s in the schema, %llu in the table", where, name, value->text,
                 (unsigned long long)expected);
    }
}

/* One row and one property. */
static void compare_member(const struct member *member, const struct document_value *property)
{
    const char *where = member->name;
    assert_int_equal(at(property, "description", where)->kind, DOCUMENT_STRING);
    if (member->read == value_count || member->read == value_unsigned) {
        assert_number(property, "minimum", member->least, where);
        assert_number(property, "maximum", member->most, where);
    }
    if (member->read == value_flag) {
        assert_string_equal(at(property, "type", where)->text, "boolean");
    }
    if (member->read == value_duration) {
        assert_string_equal(at(property, "$ref", where)->text, "#/$defs/duration");
    }
    if (member->read == value_size) {
        assert_string_equal(at(property, "$ref", where)->text, "#/$defs/size");
    }
    if (member->read == value_rate) {
        assert_string_equal(at(property, "$ref", where)->text, "#/$defs/rate");
    }
    if (member->words != NULL) {
        const struct document_value *word = at(property, "enum", where)->first;
        for (size_t i = 0; member->words[i] != NULL; i++, word = word->next) {
            assert_non_null(word);
            assert_string_equal(word->text, member->words[i]);
        }
        assert_null(word);
    }
}

/* A table, the schema's object of that name, and the tables it leads to. */
static void compare(struct schema *schema, const struct members *members)
{
    const struct document_value *object =
        members->name[0] == '\0' ? schema->root : at(at(schema->root, "$defs", ""), members->name, "$defs");
    assert_true(members->count <= MEMBERS_MAX);
    assert_true(schema->checked_count < COUNT(schema->checked));
    schema->checked[schema->checked_count++] = members->name;

    const struct document_value *closed = at(object, "additionalProperties", members->name);
    assert_true(closed->kind == DOCUMENT_BOOLEAN && !closed->truth);
    const struct document_value *properties = at(object, "properties", members->name);
    assert_int_equal(properties->count, members->count);
    for (size_t i = 0; i < members->count; i++) {
        compare_member(&members->list[i], at(properties, members->list[i].name, members->name));
        if (members->list[i].members != NULL) {
            compare(schema, members->list[i].members);
        }
    }
}

static void the_schema_has_the_members_and_bounds_of_the_tables(void **state)
{
    struct schema *schema = *state;
    compare(schema, &config_members);
    assert_int_equal(schema->checked_count, 16);
}

static void the_schema_describes_no_object_that_is_not_read(void **state)
{
    struct schema *schema = *state;
    schema->checked_count = 0;
    compare(schema, &config_members);
    const struct document_value *definition = at(schema->root, "$defs", "")->first;
    for (; definition != NULL; definition = definition->next) {
        if (document_member(definition, "properties") == NULL) {
            continue; /* of a notation, not of an object */
        }
        bool found = false;
        for (size_t i = 0; i < schema->checked_count; i++) {
            found = found || strcmp(schema->checked[i], definition->name) == 0;
        }
        if (!found) {
            fail_msg("no table reads the schema's \"%s\"", definition->name);
        }
    }
}

static void assert_references_lead_somewhere(const struct document_value *definitions,
                                             const struct document_value *value)
{
    static const char prefix[] = "#/$defs/";
    if (value->name != NULL && strcmp(value->name, "$ref") == 0) {
        assert_memory_equal(value->text, prefix, strlen(prefix));
        (void)at(definitions, value->text + strlen(prefix), "$ref");
    }
    for (const struct document_value *child = value->first; child != NULL; child = child->next) {
        assert_references_lead_somewhere(definitions, child);
    }
}

static void every_reference_leads_somewhere(void **state)
{
    struct schema *schema = *state;
    assert_references_lead_somewhere(at(schema->root, "$defs", ""), schema->root);
}

/* The defaults that the schema promises are those that a file without them gets. */
static void the_defaults_are_the_defaults(void **state)
{
    struct schema *schema = *state;
    const struct document_value *definitions = at(schema->root, "$defs", "");
    static const struct {
        const char *object, *member;
    } written[] = {
        { "timeouts", "request_head" },
        { "timeouts", "request_body" },
        { "timeouts", "idle" },
        { "timeouts", "shutdown" },
        { "sizes", "request_head" },
        { "sizes", "request_body" },
        { "sizes", "connections" },
        { "sizes", "connections_per_ip" },
        { "client_ip", "ipv4_prefix" },
        { "client_ip", "ipv6_prefix" },
        { "client_ip", "header" },
        { "state", "keys" },
        { "log", "access" },
        { "log", "sample_denied" },
        { "log", "keys" },
    };
    static const char routes[] = "{ \"routes\": [ { \"path\": \"/\", \"respond\": {} } ]";
    struct config *plain = load_between(routes, "", "}");
    for (size_t i = 0; i < COUNT(written); i++) {
        const struct document_value *property =
            at(at(at(definitions, written[i].object, ""), "properties", ""), written[i].member, written[i].object);
        const struct document_value *value = at(property, "default", written[i].member);
        const char *quote = value->kind == DOCUMENT_STRING ? "\"" : "";
        const char *text = value->kind == DOCUMENT_BOOLEAN ? (value->truth ? "true" : "false") : value->text;
        char member[128];
        snprintf(member, sizeof member, ", \"%s\": { \"%s\": %s%s%s }", written[i].object, written[i].member, quote,
                 text, quote);
        struct config *same = load_between(routes, member, "}");
        assert_memory_equal(&same->timeouts, &plain->timeouts, sizeof plain->timeouts);
        assert_memory_equal(&same->sizes, &plain->sizes, sizeof plain->sizes);
        assert_int_equal(same->client_ip.ipv4_prefix, plain->client_ip.ipv4_prefix);
        assert_int_equal(same->client_ip.ipv6_prefix, plain->client_ip.ipv6_prefix);
        assert_string_equal(same->client_ip.header, plain->client_ip.header);
        assert_int_equal(same->state_keys, plain->state_keys);
        assert_int_equal(same->log.access, plain->log.access);
        assert_int_equal(same->log.sample_denied.tokens, plain->log.sample_denied.tokens);
        assert_int_equal(same->log.sample_denied.period_ns, plain->log.sample_denied.period_ns);
        assert_int_equal(same->log.keys, plain->log.keys);
        config_free(&same);
    }
    config_free(&plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_schema_has_the_members_and_bounds_of_the_tables),
        cmocka_unit_test(the_schema_describes_no_object_that_is_not_read),
        cmocka_unit_test(every_reference_leads_somewhere),
        cmocka_unit_test(the_defaults_are_the_defaults),
    };
    return cmocka_run_group_tests_name("config_schema", tests, read_schema, free_schema);
}
