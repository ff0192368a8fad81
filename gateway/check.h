/* check: words for "this cannot be" and "this should not be".
 *
 * CHECK(x)     an invariant of ours. Stays on in production; a broken one prints where and aborts: a gateway that limits
 *              wrongly in silence is worse than one that is restarted.
 * COUNT_IF(x)  surprising but harmless: true when x, and counted in weir_surprises_total; carry on.
 * MUST_CHECK   a result that must not be dropped.
 */
#ifndef WEIR_CHECK_H
#define WEIR_CHECK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define MUST_CHECK __attribute__((warn_unused_result))

__attribute__((noreturn, cold)) void check_failed(const char *condition, const char *file, int line);
#define CHECK(condition) ((condition) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))

extern _Atomic uint64_t check_surprises;
static inline bool check_count(bool surprise)
{
    if (__builtin_expect(surprise, 0)) {
        /* relaxed: a counter that publishes nothing else */
        atomic_fetch_add_explicit(&check_surprises, 1, memory_order_relaxed);
    }
    return surprise;
}
#define COUNT_IF(condition) check_count(condition)

#endif
