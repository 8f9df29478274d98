/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The "ksm-policy" object: what of a machine is merged, and when
 *
 * Whether a block may be merged follows from three things: does a pattern
 * select it, what is the mode, and with mode=auto, what was decided last.
 *
 * Advice that was given under pressure stays when the pressure is over: there
 * is no advice to merge no more, only one that gives back what was merged, and
 * that would take memory just when some has become free.
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qapi/error.h"
#include "qapi/qapi-builtin-visit.h"
#include "qapi/qapi-events-ksm-policy.h"
#include "qapi/visitor.h"
#include "exec/ramblock.h"
#include "hw/ksm/ksm.h"
#include "qom/object_interfaces.h"
#include "ksm-open.h"
#include "ksm-policy.h"
#include "ksm-ram.h"
#include "ksm-watch.h"
#include "trace.h"

OBJECT_DECLARE_SIMPLE_TYPE(KsmPolicy, KSM_POLICY)

/* A name is shorter than 256 bytes; nobody needs more patterns than blocks. */
#define PATTERN_LENGTH_MAX 255
#define PATTERNS_MAX 64

typedef enum Number {
    MIN_FREE_PERCENT,
    HYSTERESIS_PERCENT,
    STALL_PERCENT,
    DWELL_SECONDS,
    INTERVAL_SECONDS,
    HOT_PERCENT,
    NUMBER__MAX,
} Number;

/* The ranges leave room for @hysteresis above the highest @min-free. */
static const struct {
    const char *name, *description;
    int64_t min, max, preset;
} number_desc[NUMBER__MAX] = {
    [MIN_FREE_PERCENT] = {
        "min-free-percent",
        "auto: merge if less of the host's memory is available (0: do not look)",
        0, 75, 20
    },
    [HYSTERESIS_PERCENT] = {
        "hysteresis-percent",
        "auto: stop if so much more than min-free-percent is available",
        1, 20, 5
    },
    [STALL_PERCENT] = {
        "stall-percent",
        "auto: merge if tasks of the host wait for memory for so much of "
        "their time (0: do not look)",
        0, 100, 5
    },
    [DWELL_SECONDS] = {
        "dwell-seconds", "auto: shortest time between two changes",
        1, 86400, 60
    },
    [INTERVAL_SECONDS] = {
        "interval-seconds", "auto: time between two looks at the host",
        1, 3600, 10
    },
    [HOT_PERCENT] = {
        "hot-percent",
        "auto: leave out what is written to more between two looks (100: no)",
        1, 100, 50
    },
};

typedef struct Decision {
    KsmPolicyState state;
    KsmPolicyReason reason;
    int64_t when;               /* seconds since the epoch */
} Decision;

struct KsmPolicy {
    Object parent_obj;

    OnOffAuto mode;
    char *blocks;               /* as it was set */
    GStrv pattern;              /* the same, taken apart; NULL: guest RAM */
    int64_t number[NUMBER__MAX];
    Decision last;
    KsmWatch *watch;            /* NULL unless mode=auto */
};

/* The one that counts; NULL if none was completed.  Under the big QEMU lock */
static KsmPolicy *the_policy;

static bool is_active(const KsmPolicy *policy)
{
    g_assert(qemu_mutex_iothread_locked());
    return policy == the_policy;
}

static bool matches(const KsmPolicy *policy, const char *name)
{
    for (int i = 0; policy->pattern[i]; i++) {
        if (g_pattern_match_simple(policy->pattern[i], name)) {
            return true;
        }
    }
    return false;
}

static bool is_selected(const KsmPolicy *policy, RAMBlock *block)
{
    g_autofree char *memdev = NULL;

    if (!policy->pattern) {
        return ksm_ram_is_guest_ram(block);
    }
    memdev = ksm_ram_memdev(block);
    return matches(policy, ksm_ram_name(block)) ||
           (memdev && matches(policy, memdev));
}

static bool is_pressed(const KsmPolicy *policy)
{
    return policy->watch && ksm_watch_is_merging(policy->watch);
}

static KsmRefusal judge(const KsmRamState *state, void *opaque)
{
    KsmPolicy *policy = opaque;

    if (!is_selected(policy, state->block)) {
        return KSM_REFUSAL_EXCLUDED_BY_POLICY;
    }
    if (policy->mode == ON_OFF_AUTO_OFF) {
        return KSM_REFUSAL_DISABLED_BY_POLICY;
    }
    if (policy->mode == ON_OFF_AUTO_AUTO && !is_pressed(policy) &&
        !state->advised) {
        return KSM_REFUSAL_NO_PRESSURE;
    }
    return KSM_REFUSAL_NONE;
}

/* False if the kernel refused; then the caller puts back what it changed. */
static bool apply(KsmPolicy *policy, Error **errp)
{
    return !is_active(policy) || ksm_ram_reconsider_all(errp);
}

static void note_decision(KsmPolicy *policy, KsmPolicyState state,
                          KsmPolicyReason reason)
{
    const char *id = object_get_canonical_path_component(OBJECT(policy));

    policy->last = (Decision) {
        .state = state,
        .reason = reason,
        .when = g_get_real_time() / G_USEC_PER_SEC,
    };
    trace_ksm_policy_decision(id, OnOffAuto_str(policy->mode),
                              KsmPolicyState_str(state),
                              KsmPolicyReason_str(reason));
}

static void send_changed(KsmPolicy *policy)
{
    qapi_event_send_ksm_policy_changed(
        object_get_canonical_path_component(OBJECT(policy)), policy->mode,
        policy->last.state, policy->last.reason);
}

/* What the mode means by itself */
static void note_mode(KsmPolicy *policy)
{
    switch (policy->mode) {
    case ON_OFF_AUTO_ON:
        note_decision(policy, KSM_POLICY_STATE_MERGING,
                      KSM_POLICY_REASON_CONFIGURED);
        break;
    case ON_OFF_AUTO_OFF:
        note_decision(policy, KSM_POLICY_STATE_OFF,
                      KSM_POLICY_REASON_CONFIGURED);
        break;
    default:
        note_decision(policy, KSM_POLICY_STATE_PAUSED,
                      KSM_POLICY_REASON_WAITING);
        break;
    }
}

static KsmPolicyReason convert_reason(KsmAutoReason reason)
{
    switch (reason) {
    case KSM_AUTO_START:
        return KSM_POLICY_REASON_WAITING;
    case KSM_AUTO_LOW_MEMORY:
        return KSM_POLICY_REASON_LOW_MEMORY;
    case KSM_AUTO_STALLS:
        return KSM_POLICY_REASON_STALLS;
    case KSM_AUTO_EASED:
        return KSM_POLICY_REASON_EASED;
    }
    g_assert_not_reached();
}

static void on_decision(const KsmAutoState *state, void *opaque)
{
    KsmPolicy *policy = opaque;

    /* What the kernel refuses stands in the report of the block. */
    ksm_ram_reconsider_all(NULL);
    note_decision(policy, state->merging ? KSM_POLICY_STATE_MERGING
                                         : KSM_POLICY_STATE_PAUSED,
                  convert_reason(state->reason));
    send_changed(policy);
}

static KsmWatchConfig watch_config(const KsmPolicy *policy)
{
    return (KsmWatchConfig) {
        .limits = {
            .min_free = policy->number[MIN_FREE_PERCENT],
            .hysteresis = policy->number[HYSTERESIS_PERCENT],
            .stall = policy->number[STALL_PERCENT],
            .dwell_ms = policy->number[DWELL_SECONDS] * 1000,
        },
        .interval_ms = policy->number[INTERVAL_SECONDS] * 1000,
        .hot_percent = policy->number[HOT_PERCENT],
    };
}

static void stop_watch(KsmPolicy *policy)
{
    g_clear_pointer(&policy->watch, ksm_watch_free);
}

static void follow_mode(KsmPolicy *policy)
{
    stop_watch(policy);
    if (policy->mode == ON_OFF_AUTO_AUTO) {
        KsmWatchConfig config = watch_config(policy);

        policy->watch = ksm_watch_new(&config, on_decision, policy);
    }
    note_mode(policy);
}

static int get_mode(Object *obj, Error **errp)
{
    return KSM_POLICY(obj)->mode;
}

static void set_mode(Object *obj, int value, Error **errp)
{
    KsmPolicy *policy = KSM_POLICY(obj);
    OnOffAuto old = policy->mode;

    if (value == old) {
        return;
    }
    policy->mode = value;
    if (!apply(policy, errp)) {
        policy->mode = old;
        apply(policy, NULL);
        return;
    }
    if (is_active(policy)) {
        follow_mode(policy);
        send_changed(policy);
    }
}

static char *get_blocks(Object *obj, Error **errp)
{
    return g_strdup(KSM_POLICY(obj)->blocks);
}

/* True with *@pattern NULL if @text is empty */
static bool parse_patterns(const char *text, GStrv *pattern, Error **errp)
{
    g_auto(GStrv) word = g_strsplit(text, ",", -1);
    guint n = g_strv_length(word);

    *pattern = NULL;
    if (n > PATTERNS_MAX) {
        error_setg(errp, "Property 'blocks': %u patterns, must be 0 to %d",
                   n, PATTERNS_MAX);
        return false;
    }
    for (guint i = 0; i < n; i++) {
        size_t length = strlen(g_strstrip(word[i]));

        if (length < 1 || length > PATTERN_LENGTH_MAX) {
            error_setg(errp, "Property 'blocks': pattern %u of '%.80s' has %zu "
                       "characters, must have 1 to %d", i + 1, text, length,
                       PATTERN_LENGTH_MAX);
            return false;
        }
    }
    *pattern = n ? g_steal_pointer(&word) : NULL;
    return true;
}

static void set_blocks(Object *obj, const char *value, Error **errp)
{
    KsmPolicy *policy = KSM_POLICY(obj);
    GStrv old = policy->pattern, new;

    if (!parse_patterns(value, &new, errp)) {
        return;
    }
    policy->pattern = new;
    if (!apply(policy, errp)) {
        policy->pattern = old;
        apply(policy, NULL);
        g_strfreev(new);
        return;
    }
    g_strfreev(old);
    g_free(policy->blocks);
    policy->blocks = g_strdup(value);
}

static void get_number(Object *obj, Visitor *v, const char *name,
                       void *opaque, Error **errp)
{
    int64_t value = KSM_POLICY(obj)->number[(uintptr_t)opaque];

    visit_type_int(v, name, &value, errp);
}

static void set_number(Object *obj, Visitor *v, const char *name,
                       void *opaque, Error **errp)
{
    KsmPolicy *policy = KSM_POLICY(obj);
    Number n = (uintptr_t)opaque;
    int64_t value;

    if (!visit_type_int(v, name, &value, errp)) {
        return;
    }
    if (value < number_desc[n].min || value > number_desc[n].max) {
        error_setg(errp, "Property '%s': %" PRId64 " is out of range %" PRId64
                   " to %" PRId64, name, value, number_desc[n].min,
                   number_desc[n].max);
        return;
    }
    policy->number[n] = value;
    if (policy->watch) {
        KsmWatchConfig config = watch_config(policy);

        ksm_watch_set_config(policy->watch, &config);
    }
}

/* An error that names the host's engine, for what it cannot do */
static void refuse(Error **errp, const char *name, const char *value,
                   const char *allowed, const char *why)
{
    g_autoptr(KsmHost) host = ksm_open_host();
    KsmHostStats stats;

    ksm_host_read_stats(host, &stats, NULL);
    error_setg(errp, "Property '%s': '%s' is not possible, must be '%s': the "
               "host's merge engine (%s) %s", name, value, allowed,
               *stats.engine_name ? stats.engine_name : "none", why);
}

static bool get_boost(Object *obj, Error **errp)
{
    return false;
}

static void set_boost(Object *obj, bool value, Error **errp)
{
    if (value) {
        refuse(errp, "boost", "on", "off",
               "cannot be asked to look at new memory first");
    }
}

static char *get_domain(Object *obj, Error **errp)
{
    return g_strdup(KSM_POLICY_DOMAIN);
}

/* To accept one and not join it would merge memory that must be kept apart. */
static void set_domain(Object *obj, const char *value, Error **errp)
{
    if (!g_str_equal(value, KSM_POLICY_DOMAIN)) {
        refuse(errp, "domain", value, KSM_POLICY_DOMAIN,
               "has no sharing domains");
    }
}

/* From here on mem-merge and merge mean again what they mean without us. */
static void retire(KsmPolicy *policy)
{
    the_policy = NULL;
    stop_watch(policy);
    ksm_ram_set_policy(NULL);
    ksm_ram_reconsider_all(NULL);
}

static void ksm_policy_complete(UserCreatable *uc, Error **errp)
{
    static KsmRamPolicy ram_policy = { .judge = judge };
    KsmPolicy *policy = KSM_POLICY(uc);

    if (the_policy) {
        error_setg(errp, "there is a " TYPE_KSM_POLICY " object already: '%s'",
                   object_get_canonical_path_component(OBJECT(the_policy)));
        return;
    }
    the_policy = policy;
    ram_policy.opaque = policy;
    ksm_ram_set_policy(&ram_policy);
    if (!apply(policy, errp)) {
        retire(policy);
        return;
    }
    follow_mode(policy);
}

static void ksm_policy_unparent(Object *obj)
{
    KsmPolicy *policy = KSM_POLICY(obj);

    if (is_active(policy)) {
        retire(policy);
    }
}

static void ksm_policy_init(Object *obj)
{
    KsmPolicy *policy = KSM_POLICY(obj);

    policy->mode = ON_OFF_AUTO_ON;
    policy->blocks = g_strdup("");
    for (int i = 0; i < NUMBER__MAX; i++) {
        policy->number[i] = number_desc[i].preset;
    }
}

static void ksm_policy_finalize(Object *obj)
{
    KsmPolicy *policy = KSM_POLICY(obj);

    g_free(policy->blocks);
    g_strfreev(policy->pattern);
}

static void add_numbers(ObjectClass *oc)
{
    for (uintptr_t i = 0; i < NUMBER__MAX; i++) {
        object_class_property_add(oc, number_desc[i].name, "int", get_number,
                                  set_number, NULL, (void *)i);
        object_class_property_set_description(oc, number_desc[i].name,
                                              number_desc[i].description);
    }
}

static void ksm_policy_class_init(ObjectClass *oc, void *data)
{
    USER_CREATABLE_CLASS(oc)->complete = ksm_policy_complete;
    oc->unparent = ksm_policy_unparent;

    object_class_property_add_enum(oc, "mode", "OnOffAuto", &OnOffAuto_lookup,
                                   get_mode, set_mode);
    object_class_property_set_description(oc, "mode",
        "Merge always, never, or while the host is short of memory");
    object_class_property_add_str(oc, "blocks", get_blocks, set_blocks);
    object_class_property_set_description(oc, "blocks",
        "Patterns of RAM block names, separated by commas (empty: guest RAM)");
    object_class_property_add_bool(oc, "boost", get_boost, set_boost);
    object_class_property_set_description(oc, "boost",
        "Have new memory looked at first, where the engine can");
    object_class_property_add_str(oc, "domain", get_domain, set_domain);
    object_class_property_set_description(oc, "domain",
        "Sharing domain, where the kernel has them (default: the one of all)");
    add_numbers(oc);
}

static const TypeInfo ksm_policy_info_type = {
    .name = TYPE_KSM_POLICY,
    .parent = TYPE_OBJECT,
    .instance_size = sizeof(KsmPolicy),
    .instance_init = ksm_policy_init,
    .instance_finalize = ksm_policy_finalize,
    .class_init = ksm_policy_class_init,
    .interfaces = (InterfaceInfo[]) {
        { TYPE_USER_CREATABLE },
        { }
    }
};

static void ksm_policy_register(void)
{
    type_register_static(&ksm_policy_info_type);
}

type_init(ksm_policy_register)

static bool to_percent(const KsmHostValue *hundredths, double *percent)
{
    *percent = hundredths->u / 100.0;
    return hundredths->present;
}

static void add_hot_bytes(const KsmRamState *state, void *opaque)
{
    KsmPolicyInfo *info = opaque;

    info->hot_bytes += state->hot_bytes;
}

KsmPolicyInfo *ksm_policy_info(void)
{
    KsmPolicy *policy = the_policy;
    KsmPolicyInfo *info;

    g_assert(qemu_mutex_iothread_locked());
    if (!policy) {
        return NULL;
    }
    info = g_new0(KsmPolicyInfo, 1);
    info->id = g_strdup(object_get_canonical_path_component(OBJECT(policy)));
    info->mode = policy->mode;
    info->state = policy->last.state;
    info->reason = policy->last.reason;
    info->when = policy->last.when;
    if (policy->watch) {
        const KsmHostPressure *pressure = ksm_watch_pressure(policy->watch);

        info->has_available_percent = to_percent(&pressure->available,
                                                 &info->available_percent);
        info->has_stall_percent = to_percent(&pressure->stall,
                                             &info->stall_percent);
    }
    ksm_ram_foreach(add_hot_bytes, info);
    return info;
}
