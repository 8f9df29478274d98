/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of the advice for RAM blocks, page by page, in a machine that is
 * made up: what cannot be had in a test otherwise, above all memory that is
 * mapped anew after an error, and kernels that refuse a part.
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qapi/error.h"
#include "hw/ksm/ksm.h"
#include "ksm-fake-ram.h"

/* Regions of the tests are this many pages. */
#define REGION 4

static void assert_picture(const FakeBlock *at, const char *expected)
{
    g_autofree char *picture = fake_ram_picture(at);

    g_assert_cmpstr(picture, ==, expected);
}

static void assert_state(const FakeBlock *at, KsmRefusal reason, int error)
{
    KsmRamState state = fake_ram_state(at);

    g_assert_cmpstr(KsmRefusal_str(state.reason), ==, KsmRefusal_str(reason));
    g_assert_cmpint(state.error, ==, error);
}

/* A bit of @hot is a region. */
static void set_hot(FakeBlock *at, unsigned long hot)
{
    size_t regions = DIV_ROUND_UP(at->pages, REGION);

    ksm_ram_set_hot(&at->block, REGION * qemu_real_host_page_size(), &hot,
                    regions);
}

static FakeBlock *add_block(size_t pages)
{
    FakeBlock *at = fake_ram_new(pages, true);

    fake_ram_add(at);
    return at;
}

static void test_hot(void)
{
    FakeBlock *at;

    fake_ram_reset();
    at = add_block(10);
    assert_picture(at, "MMMMMMMMMM");
    g_assert_cmpint(fake_kernel.calls, ==, 1);
    set_hot(at, 0x2);
    assert_picture(at, "MMMM....MM");
    assert_state(at, KSM_REFUSAL_WRITE_HOT, 0);
    g_assert_cmpuint(fake_ram_state(at).hot_bytes, ==,
                     REGION * qemu_real_host_page_size());
    /* The last region is a short one. */
    set_hot(at, 0x5);
    assert_picture(at, "....MMMM..");
    g_assert_cmpuint(fake_ram_state(at).hot_bytes, ==,
                     6 * qemu_real_host_page_size());
    /* Neighbours are told in one go. */
    fake_kernel.calls = 0;
    set_hot(at, 0x3);
    g_assert_cmpint(fake_kernel.calls, ==, 2);
    assert_picture(at, "........MM");
    ksm_ram_set_hot(&at->block, 0, NULL, 0);
    assert_picture(at, "MMMMMMMMMM");
    assert_state(at, KSM_REFUSAL_NONE, 0);
}

/* Memory that was mapped anew gets what its place had been told before. */
static void test_remap(void)
{
    FakeBlock *at;

    fake_ram_reset();
    at = add_block(12);
    fake_ram_remap(at, 5, 1);
    assert_picture(at, "MMMMMMMMMMMM");
    set_hot(at, 0x2);
    fake_ram_remap(at, 5, 1);
    assert_picture(at, "MMMM....MMMM");
    fake_ram_remap(at, 3, 1);
    fake_ram_remap(at, 8, 1);
    assert_picture(at, "MMMM....MMMM");
    /* Across both borders of the hot region */
    fake_kernel.calls = 0;
    fake_ram_remap(at, 2, 8);
    g_assert_cmpint(fake_kernel.calls, ==, 3);
    assert_picture(at, "MMMM....MMMM");
    assert_state(at, KSM_REFUSAL_WRITE_HOT, 0);
    /* Left in once more: nothing of it is forgotten. */
    set_hot(at, 0);
    assert_picture(at, "MMMMMMMMMMMM");
    fake_ram_remap(at, 0, 12);
    assert_picture(at, "MMMMMMMMMMMM");
    assert_state(at, KSM_REFUSAL_NONE, 0);
}

/* Who must not be merged is not after an error either. */
static void test_remap_unwanted(void)
{
    FakeBlock *at;

    fake_ram_reset();
    at = fake_ram_new(8, true);
    at->backend->merge = false;
    fake_ram_add(at);
    fake_ram_remap(at, 2, 2);
    assert_picture(at, "........");
    assert_state(at, KSM_REFUSAL_DISABLED_BY_BACKEND, 0);

    fake_ram_reset();
    fake_ram_set_machine(true, true);
    at = add_block(8);
    fake_kernel.calls = 0;
    fake_ram_remap(at, 2, 2);
    g_assert_cmpint(fake_kernel.calls, ==, 1);
    assert_picture(at, "........");
    assert_state(at, KSM_REFUSAL_CONFIDENTIAL_GUEST, 0);
}

/* What the kernel says to the new memory counts for the block. */
static void test_remap_refused(void)
{
    FakeBlock *at;

    fake_ram_reset();
    at = add_block(12);
    set_hot(at, 0x2);
    fake_kernel = (FakeKernel) { .fail_at = 1, .error = ENOMEM };
    fake_ram_remap(at, 2, 8);
    /* The second of three pieces fails; the third one is told all the same. */
    g_assert_cmpint(fake_kernel.calls, ==, 3);
    assert_picture(at, "MMMM....MMMM");
    assert_state(at, KSM_REFUSAL_KERNEL_REFUSED, ENOMEM);

    fake_kernel = (FakeKernel) { .fail_at = 0, .error = EINVAL };
    fake_ram_remap(at, 0, 2);
    assert_picture(at, "..MM....MMMM");
    assert_state(at, KSM_REFUSAL_HOST_UNAVAILABLE, EINVAL);

    /* Asked again, and everything is right. */
    fake_kernel = (FakeKernel) { .fail_at = -1 };
    g_assert_true(ksm_ram_reconsider(&at->mr, NULL));
    assert_picture(at, "MMMM....MMMM");
    assert_state(at, KSM_REFUSAL_WRITE_HOT, 0);
}

/* Each piece is told, whichever of them fails, and the first error is kept. */
static void test_refused_in_part(void)
{
    for (int i = 0; i < 3; i++) {
        Error *err = NULL;
        FakeBlock *at;

        fake_ram_reset();
        at = add_block(12);
        set_hot(at, 0x2);
        memset(at->mergeable, 0, 12 * sizeof(bool));
        fake_kernel = (FakeKernel) { .fail_at = i, .error = ENOMEM };
        g_assert_false(ksm_ram_reconsider_all(&err));
        g_assert_nonnull(strstr(error_get_pretty(err), "'fake0' mergeable"));
        error_free(err);
        g_assert_cmpint(fake_kernel.calls, ==, 3);
        assert_picture(at, i == 0 ? "........MMMM" :
                           i == 2 ? "MMMM........" : "MMMM....MMMM");
        assert_state(at, KSM_REFUSAL_KERNEL_REFUSED, ENOMEM);
    }
}

/* Memory of a device is left alone, mapped anew or not. */
static void test_device_memory(void)
{
    for (int i = 0; i < 2; i++) {
        FakeBlock *at;

        fake_ram_reset();
        at = fake_ram_new(8, false);
        if (i == 0) {
            at->block.flags |= RAM_PREALLOC;
        } else {
            at->block.fd = 3;
        }
        fake_ram_add(at);
        fake_ram_remap(at, 0, 4);
        g_assert_true(ksm_ram_reconsider_all(NULL));
        g_assert_cmpint(fake_kernel.calls, ==, 0);
        assert_state(at, KSM_REFUSAL_DEVICE_MEMORY, 0);
        g_assert_false(ksm_ram_is_guest_ram(&at->block));
    }

    /* Without a backend, but ordinary: ROM, video memory */
    fake_ram_reset();
    fake_ram_add(fake_ram_new(8, false));
    g_assert_cmpint(fake_kernel.calls, ==, 1);
}

/* Kinds that the kernel passes by are advised, and reported. */
static void test_kinds(void)
{
    FakeBlock *at;

    fake_ram_reset();
    at = fake_ram_new(8, true);
    at->block.flags |= RAM_SHARED;
    fake_ram_add(at);
    assert_state(at, KSM_REFUSAL_SHARED_MAPPING, 0);
    at = fake_ram_new(8, true);
    at->block.page_size *= 512;
    fake_ram_add(at);
    assert_state(at, KSM_REFUSAL_HUGE_PAGES, 0);
}

/* Blocks that nobody told of, or no longer there, are no trouble. */
static void test_unknown_block(void)
{
    FakeBlock *at, *other;

    fake_ram_reset();
    at = add_block(8);
    other = fake_ram_new(8, true);
    ksm_ram_remapped(&other->block, other->block.host, 8);
    set_hot(other, 0x1);
    g_assert_true(ksm_ram_reconsider(&other->mr, NULL));
    g_assert_cmpint(fake_kernel.calls, ==, 1);
    fake_ram_add(other);
    fake_ram_remove(at);
    assert_picture(other, "MMMMMMMM");
}

/* ---- any order of events against a model ---- */

typedef struct Model {
    FakeBlock *at;
    unsigned long hot;
    KsmRefusal judged;
} Model;

static KsmRefusal judge(const KsmRamState *state, void *opaque)
{
    Model *model = opaque;

    return model->judged;
}

static bool is_hot(const Model *model, size_t page)
{
    return model->hot >> (page / REGION) & 1;
}

static void check_model(const Model *model)
{
    bool wanted = model->at->backend->merge &&
                  model->judged == KSM_REFUSAL_NONE;
    uint64_t hot = 0;

    for (size_t i = 0; i < model->at->pages; i++) {
        hot += is_hot(model, i);
        g_assert_cmpint(model->at->mergeable[i], ==,
                        wanted && !is_hot(model, i));
    }
    g_assert_cmpuint(fake_ram_state(model->at).hot_bytes, ==,
                     hot * qemu_real_host_page_size());
    g_assert_cmpint(fake_ram_state(model->at).reason == KSM_REFUSAL_NONE, ==,
                    wanted && !hot);
}

static void change_anything(Model *model)
{
    FakeBlock *at = model->at;
    size_t first = g_test_rand_int_range(0, at->pages);

    switch (g_test_rand_int_range(0, 5)) {
    case 0:
        model->hot = g_test_rand_int();
        model->hot &= (1UL << DIV_ROUND_UP(at->pages, REGION)) - 1;
        set_hot(at, model->hot);
        break;
    case 1:
        model->hot = 0;
        ksm_ram_set_hot(&at->block, 0, NULL, 0);
        break;
    case 2:
        at->backend->merge = !at->backend->merge;
        g_assert_true(ksm_ram_reconsider(&at->mr, NULL));
        break;
    case 3:
        model->judged = g_test_rand_bit() ? KSM_REFUSAL_NONE
                                          : KSM_REFUSAL_DISABLED_BY_POLICY;
        g_assert_true(ksm_ram_reconsider_all(NULL));
        break;
    default:
        fake_ram_remap(at, first,
                       g_test_rand_int_range(1, at->pages - first + 1));
    }
}

static void test_random(void)
{
    for (int i = 0; i < 200; i++) {
        Model model = { .judged = KSM_REFUSAL_NONE };
        KsmRamPolicy policy = { .judge = judge, .opaque = &model };

        fake_ram_reset();
        ksm_ram_set_policy(&policy);
        model.at = add_block(g_test_rand_int_range(1, FAKE_PAGES_MAX + 1));
        for (int j = 0; j < 100; j++) {
            change_anything(&model);
            check_model(&model);
        }
        ksm_ram_set_policy(NULL);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    fake_ram_init();
    g_test_add_func("/ksm-ram/hot", test_hot);
    g_test_add_func("/ksm-ram/remap", test_remap);
    g_test_add_func("/ksm-ram/remap-unwanted", test_remap_unwanted);
    g_test_add_func("/ksm-ram/remap-refused", test_remap_refused);
    g_test_add_func("/ksm-ram/refused-in-part", test_refused_in_part);
    g_test_add_func("/ksm-ram/device-memory", test_device_memory);
    g_test_add_func("/ksm-ram/kinds", test_kinds);
    g_test_add_func("/ksm-ram/unknown-block", test_unknown_block);
    g_test_add_func("/ksm-ram/random", test_random);
    return g_test_run();
}
