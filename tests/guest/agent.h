/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest agent's parts; the protocol is described in agent.c. */
#ifndef SAMEPAGE_AGENT_H
#define SAMEPAGE_AGENT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pattern.h"

/* A reply under construction: one line, cut (and marked so) if too long. */
struct reply {
    char text[16384];
    size_t len;
};

/* Add to a reply; the first words are "ok" or "error". */
void reply_add(struct reply *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Make the reply an error, whatever was added before. */
void reply_error(struct reply *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* --- agent-mem.c: the regions of test memory --- */

/* MemAvailable of the guest in KiB, 0 if unknown. */
uint64_t mem_available_kib(void);

/* Take memory and write version 0 of every page.  May be called once. */
void mem_fill(struct reply *r, uint32_t guest,
              const uint32_t pages[REGION_COUNT]);

/* Check every byte of every region; adds pages=, bad=, sum_equal=, first=. */
void mem_verify(struct reply *r);

/*
 * Give @count pages of @region, evenly spread, their next version: each is
 * checked before, written, and checked again.
 */
void mem_rewrite(struct reply *r, enum pattern_region region, uint32_t count);

/* Guest-physical page numbers and versions of pages [first, first+count). */
void mem_where(struct reply *r, enum pattern_region region, uint32_t first,
               uint32_t count);

/* Damage one byte, to prove that mem_verify() sees it. */
void mem_corrupt(struct reply *r, enum pattern_region region, uint32_t page);

/* How many churn pages the next mem_churn() calls rewrite; 0 stops. */
void mem_churn_rate(struct reply *r, uint32_t rate);

/* Rewrite the next churn pages.  Returns false while there is none to do. */
bool mem_churn(void);

/* --- agent-files.c: real programs and their page cache --- */

/* Print the manifest line of each of @count files on stdout; 0 or 1. */
int files_manifest(char **paths, int count);

/* Check the files of the image against its manifest, up to @limit_kib. */
void files_verify(struct reply *r, const char *manifest, uint32_t limit_kib);

/* Say which of the image's programs run; adds running= and missing=. */
void files_services(struct reply *r, const char *list);

#endif
