/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Same-page merging of guest RAM: what KVM adds to the reports
 */
#ifndef HW_KSM_KSM_KVM_H
#define HW_KSM_KSM_KVM_H

#include "qapi/qapi-types-ksm.h"

/* KVM's counters, NULL if it has none; context: big QEMU lock held */
typedef KsmKvmInfo *KsmKvmReader(void);

/**
 * ksm_set_kvm_reader:
 *
 * Tell who can read KVM's counters; hw/ksm is built once for all targets and
 * does not know KVM itself.
 *
 * Context: start-up.
 */
void ksm_set_kvm_reader(KsmKvmReader *reader);

#endif
