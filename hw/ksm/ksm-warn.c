/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The warning of a user who asked for merging and cannot have it
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/notify.h"
#include "hw/ksm/ksm.h"
#include "sysemu/sysemu.h"
#include "ksm-ram.h"
#include "ksm-reason.h"

static bool asked;

/* All guest RAM; ROM that can be merged is not what was asked for */
typedef struct Survey {
    bool some;              /* there is any, and ... */
    bool may_merge;         /* ... some of it can be merged, maybe later */
    bool seen[KSM_REFUSAL__MAX];
    GString *why;           /* each reason once, with the first block's name */
} Survey;

static void survey_block(const KsmRamState *state, void *opaque)
{
    Survey *survey = opaque;

    if (!ksm_ram_is_guest_ram(state->block)) {
        return;
    }
    survey->some = true;
    survey->may_merge |= state->reason == KSM_REFUSAL_NONE ||
                         ksm_reason_is_policy(state->reason);
    if (!survey->seen[state->reason]) {
        survey->seen[state->reason] = true;
        g_string_append_printf(survey->why, "%s'%s': %s",
                               survey->why->len ? "; " : "",
                               ksm_ram_name(state->block),
                               ksm_reason_text(state->reason));
    }
}

static void warn_if_in_vain(Notifier *notifier, void *data)
{
    g_autoptr(GString) why = g_string_new(NULL);
    Survey survey = { .why = why };

    ksm_ram_foreach(survey_block, &survey);
    if (asked && survey.some && !survey.may_merge) {
        warn_report("mem-merge=on has no effect, no guest RAM can be merged: "
                    "%s", why->str);
    }
}

void ksm_merge_asked(bool on)
{
    static Notifier notifier = { .notify = warn_if_in_vain };

    if (!QLIST_IS_INSERTED(&notifier, node)) {
        qemu_add_machine_init_done_notifier(&notifier);
    }
    asked = on;
}
