/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit test of the texts for reasons why memory is not merged
 */

#include "qemu/osdep.h"
#include "hw/ksm/ksm-reason.h"

/* A phrase that completes a sentence: neither empty nor a sentence itself */
static void assert_phrase(const char *text)
{
    g_assert_cmpuint(strlen(text), >, 5);
    g_assert_true(g_ascii_islower(text[0]));
    g_assert_false(g_str_has_suffix(text, "."));
}

/* A reason that is added to the schema needs a text here. */
static void test_all(void)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

    for (int i = 0; i < KSM_REFUSAL__MAX; i++) {
        g_test_message("reason %d", i);
        g_assert_nonnull(ksm_reason_text(i));
        assert_phrase(ksm_reason_text(i));
        g_assert_true(g_hash_table_add(seen, (char *)ksm_reason_text(i)));
        if (ksm_reason_remedy(i)) {
            assert_phrase(ksm_reason_remedy(i));
        }
    }
}

static void test_remedies(void)
{
    g_assert_null(ksm_reason_remedy(KSM_REFUSAL_NONE));
    g_assert_null(ksm_reason_remedy(KSM_REFUSAL_CONFIDENTIAL_GUEST));
    for (int i = 0; i < KSM_REFUSAL__MAX; i++) {
        if (ksm_reason_is_policy(i)) {
            g_assert_nonnull(strstr(ksm_reason_remedy(i), "ksm-policy"));
        }
    }
    g_assert_true(ksm_reason_is_policy(KSM_REFUSAL_NO_PRESSURE));
    g_assert_false(ksm_reason_is_policy(KSM_REFUSAL_DISABLED_BY_MACHINE));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ksm-reason/all", test_all);
    g_test_add_func("/ksm-reason/remedies", test_remedies);
    return g_test_run();
}
