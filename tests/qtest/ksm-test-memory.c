/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory with known contents, and a kernel that really merges it
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include "qapi/error.h"
#include "qapi/qapi-visit-ksm.h"
#include "ksm-test.h"
#include "ksm-test-memory.h"

#define DEADLINE_US (60 * G_USEC_PER_SEC)
#define CONTENTS 16
#define HUGE_DIR "/sys/kernel/mm/hugepages/hugepages-2048kB"

KsmKnobs *ksm_memory_start_engine(void)
{
    /* What the kernel has no knob for, or does not accept now, is left out. */
    static const char *const setting[][2] = {
        { "advisor_mode", "none" }, { "pages_to_scan", "20000" },
        { "sleep_millisecs", "1" }, { "max_page_sharing", "256" },
        { "use_zero_pages", "0" }, { "smart_scan", "0" },
    };
    const char *why_not;
    KsmKnobs *knobs = ksm_knobs_take(KSM_KNOB_DIR, KSM_KNOB_HARMLESS,
                                     &why_not);

    if (!knobs) {
        g_test_skip(why_not);
        return NULL;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(setting); i++) {
        if (!ksm_knobs_set(knobs, setting[i][0], setting[i][1])) {
            g_test_message("%s is left as it is", setting[i][0]);
        }
    }
    g_assert_true(ksm_knobs_set(knobs, "run", "1"));
    return knobs;
}

void ksm_memory_stop_engine(KsmKnobs *knobs)
{
    g_assert_true(ksm_knobs_give_back(knobs));
}

static uint64_t read_huge(const char *name)
{
    g_autofree char *path = g_build_filename(HUGE_DIR, name, NULL);
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return g_ascii_strtoull(text, NULL, 10);
}

KsmKnobs *ksm_memory_reserve_huge(unsigned pages)
{
    g_autofree char *number = NULL;
    const char *why_not;
    KsmKnobs *knobs = ksm_knobs_take(HUGE_DIR, "nr_overcommit_hugepages",
                                     &why_not);

    if (!knobs) {
        g_test_skip(why_not);
        return NULL;
    }
    number = g_strdup_printf("%" PRIu64, read_huge("nr_hugepages") + pages);
    if (!ksm_knobs_set(knobs, "nr_hugepages", number) ||
        read_huge("free_hugepages") < read_huge("resv_hugepages") + pages) {
        g_test_skip("this machine has no memory left for huge pages");
        g_assert_true(ksm_knobs_give_back(knobs));
        return NULL;
    }
    return knobs;
}

static uint64_t own_merging_pages(void)
{
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents("/proc/self/ksm_merging_pages", &text,
                                      NULL, NULL));
    return g_ascii_strtoull(text, NULL, 10);
}

/*
 * New memory of ours comes last in the engine's order: once it is merged, all
 * other memory has been looked at as often.  Its scans are no measure, since it
 * does not count any while nothing is offered.
 */
void ksm_memory_wait_engine(void)
{
    const size_t pages = 256, size = pages * qemu_real_host_page_size();
    int64_t deadline = g_get_monotonic_time() + DEADLINE_US;
    void *own = mmap(NULL, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    g_assert_true(own != MAP_FAILED);
    memset(own, 0x77, size);
    g_assert_cmpint(madvise(own, size, MADV_MERGEABLE), ==, 0);
    while (own_merging_pages() < pages) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        g_usleep(20 * 1000);
    }
    /* Not left to the engine, which would count it for a while. */
    g_assert_cmpint(madvise(own, size, MADV_UNMERGEABLE), ==, 0);
    munmap(own, size);
}

void ksm_memory_link_host(const FakeRoot *root)
{
    g_autofree char *sys = fake_root_path(root, "/sys");
    g_autofree char *flags = fake_root_path(root, "/proc/kpageflags");

    fake_root_mkdir(root, FAKE_PROC_DIR);
    g_assert_cmpint(symlink("/sys", sys), ==, 0);
    g_assert_cmpint(symlink("/proc/kpageflags", flags), ==, 0);
    ksm_test_link_file(root, "ksm_stat");
    ksm_test_link_file(root, "ksm_merging_pages");
    ksm_test_link_file(root, "pagemap");
    ksm_test_link_file(root, "smaps");
}

static uint8_t content_of(uint64_t page)
{
    return 0x40 + page % CONTENTS;
}

void ksm_memory_fill(QTestState *qts, uint64_t start, uint64_t size)
{
    uint64_t page_size = qemu_real_host_page_size();

    for (uint64_t i = 0; i < size / page_size; i++) {
        qtest_memset(qts, start + i * page_size, content_of(i), page_size);
    }
}

void ksm_memory_verify(QTestState *qts, uint64_t start, uint64_t size,
                       int64_t written)
{
    uint64_t page_size = qemu_real_host_page_size();
    g_autofree uint8_t *is = g_malloc(page_size);
    g_autofree uint8_t *should = g_malloc(page_size);

    for (int64_t i = 0; i < size / page_size; i++) {
        qtest_bufread(qts, start + i * page_size, is, page_size);
        memset(should, i == written ? 0xaa : content_of(i), page_size);
        g_assert_cmpmem(is, page_size, should, page_size);
    }
}

bool ksm_memory_merged(QTestState *qts, const char *id, uint64_t *bytes)
{
    g_autoptr(KsmStats) stats = ksm_test_query(qts);
    KsmBlockInfo *block = ksm_test_find_block(stats, id);

    g_assert_false(stats->has_problem);
    g_assert_nonnull(block);
    g_assert_true(block->verified);
    *bytes = block->merged_bytes;
    return block->has_merged_bytes;
}

static bool wait_merged(QTestState *qts, const char *id, uint64_t least,
                        uint64_t most)
{
    int64_t deadline = g_get_monotonic_time() + DEADLINE_US;
    uint64_t merged = 0;

    do {
        if (!ksm_memory_merged(qts, id, &merged)) {
            return false;
        }
        g_usleep(50 * 1000);
    } while ((merged < least || merged > most) &&
             g_get_monotonic_time() < deadline);
    g_assert_cmpuint(merged, >=, least);
    g_assert_cmpuint(merged, <=, most);
    return true;
}

bool ksm_memory_wait_merged(QTestState *qts, const char *id, uint64_t least)
{
    return wait_merged(qts, id, least, UINT64_MAX);
}

bool ksm_memory_wait_unmerged(QTestState *qts, const char *id, uint64_t most)
{
    return wait_merged(qts, id, 0, most);
}
