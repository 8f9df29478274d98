/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the guests' ksm-policy objects decide, by events and by the report. */
#ifndef SHARING_POLICY_H
#define SHARING_POLICY_H

#include "run.h"

/* The backend that policy_add_memory() adds */
#define POLICY_MEMORY "later0"

/* As QMP says it */
typedef struct PolicyWant {
    const char *state, *reason;     /* of the policy */
    const char *ram;                /* the reason of the guest's RAM */
} PolicyWant;

/*
 * Wait for KSM_POLICY_CHANGED of every guest.  One that does not come is an
 * error; one that says something else is a failed check.
 */
bool policy_events(Run *run, const PolicyWant *want, GError **errp);

/* Check that no such event came beside those that were waited for. */
bool policy_no_event(Run *run, const char *when, GError **errp);

/* Check what query-ksm-stats says of every guest's policy and RAM. */
bool policy_check(Run *run, const PolicyWant *want, const char *when,
                  GError **errp);

/* Set a numeric property of every guest's policy. */
bool policy_set(Run *run, const char *property, int value, GError **errp);

/*
 * Wait until every guest's policy leaves out some of its RAM, or with @hot
 * false nothing of it, and check that the report adds up.
 */
bool policy_wait_hot(Run *run, bool hot, GError **errp);

/* Give every guest's QEMU another memory backend. */
bool policy_add_memory(Run *run, GError **errp);

/* Check that its reason is @reason in every guest's report. */
bool policy_check_memory(Run *run, const char *reason, const char *name,
                         GError **errp);

#endif
