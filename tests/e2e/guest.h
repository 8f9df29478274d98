/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One guest: its QEMU, its monitor and the agent inside. */
#ifndef SHARING_GUEST_H
#define SHARING_GUEST_H

#include <inttypes.h>
#include <stdint.h>
#include <sys/types.h>

#include "channel.h"
#include "options.h"
#include "qmp.h"
#include "../guest/pattern.h"

/* How a guest differs from the usual one; what is NULL does not */
typedef struct GuestHow {
    const char *suffix;         /* of its name */
    const char *machine;        /* of -machine, behind the type */
    const char *memory;         /* of -m, behind the size */
    const char *append;         /* kernel parameters */
    const char *const *args;    /* more for QEMU, up to a NULL */
} GuestHow;

/* A DIMM that was plugged in while the guest ran */
typedef struct GuestDimm {
    uint64_t base, size;        /* where the guest sees it; 0: there is none */
    uint64_t host;              /* where it starts in QEMU's memory */
} GuestDimm;

typedef struct Guest {
    char name[24];
    uint32_t number;            /* from 1; seeds the guest's own contents */
    int ram_mib;
    bool running;               /* meant to be running */
    pid_t pid;                  /* of its QEMU, 0 when it has ended */
    int exit_status;            /* as waitpid() has it, once pid is 0 again */
    Qmp *qmp;
    Channel *agent;
    uint64_t ram_host;          /* where its RAM starts in QEMU's memory */
    GuestDimm dimm;
    uint32_t pages[REGION_COUNT];   /* of the agent's regions, once filled */

    char *reply;                /* of the agent's last request, NULL if due */
    GError *error;              /* why there will be no reply */

    /* Figures of the live table; sampled by host_sample_guest() */
    uint64_t mergeable_bytes;
    uint64_t merged_pages;
    bool cow_known;
    uint64_t cow_breaks;

    bool verified;              /* no check of its memory has failed */
} Guest;

/**
 * guest_start:
 * @number: from 1
 * @how: NULL for the usual guest
 *
 * Starts QEMU; its console goes to RESULTS/NAME.console, what QEMU says to
 * RESULTS/NAME.qemu.  The process dies with the driver.
 *
 * Returns: true if QEMU runs and its monitor answers.
 */
bool guest_start(Guest *g, uint32_t number, const Options *opts,
                 const GuestHow *how, GError **errp);

/* Where QEMU has what the guest sees at @address; 0 with @errp set. */
uint64_t guest_host_address(const Guest *g, uint64_t address, GError **errp);

/* Whether QEMU still runs; collects its exit status when it has ended. */
bool guest_alive(Guest *g);

/* Kill QEMU without warning (SIGKILL) and wait until it is gone. */
void guest_kill(Guest *g);

/* Wait up to @seconds for QEMU to end by itself. */
bool guest_wait_exit(Guest *g, int seconds);

void guest_clear(Guest *g);

/* Send a request to the agent; the reply comes by guest_poll_reply(). */
void guest_ask(Guest *g, const char *request);

/* Take the reply or the failure if it is there; does not wait. */
bool guest_poll_reply(Guest *g);

/* Wait up to @timeout_s for the reply; a refusal is an error too. */
bool guest_wait_reply(Guest *g, int timeout_s, GError **errp);

/*
 * What a guest that does not go on is doing goes to RESULTS/NAME.state: QEMU's
 * threads as the kernel sees them, and the CPU's registers, at two times.
 */
bool guest_describe(const Guest *g, const Options *opts, GError **errp);

/*
 * Lines of the guest's console in which its kernel complains, to be freed;
 * NULL if there are none.
 */
char *guest_complaints(const Guest *g, const Options *opts);

#endif
