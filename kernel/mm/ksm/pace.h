/* SPDX-License-Identifier: GPL-2.0-only */
/* How fast the scan goes: what was set, and the advisor that sets it. See pace.c. */
#ifndef _MM_KSM_PACE_H
#define _MM_KSM_PACE_H

#include "control.h"

void ksm_pace_looked(unsigned int looked, unsigned int fresh);
unsigned int ksm_pace_pages(void);
bool ksm_pace_goes_on(void);
void ksm_pace_sleep(void);
void ksm_pace_pass_begins(void);
void ksm_pace_pass_ended(void);

#endif /* _MM_KSM_PACE_H */
