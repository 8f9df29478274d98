/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that does the same piece of work over and over again
 *
 * No operating system, so that one piece is like the next: QEMU's multiboot
 * loader starts it.  "passes=N mib=N" on its command line say how much a piece is.
 * Each pass writes to all of HOT_MIB, as a guest's page cache or heap would be,
 * and reads a word of each page of the rest, which was written to once.  After
 * each piece a byte goes to QEMU's debug console.
 */

#include <stdint.h>

#define MIB (1u << 20)
#define PAGE 4096u
/* From where on there is memory that nobody else uses */
#define FIRST_MIB 16u
#define HOT_MIB 8u

#define MULTIBOOT_CMDLINE (1u << 2)

struct multiboot_info {
    uint32_t flags, mem_lower, mem_upper, boot_device, cmdline;
};

/* The loader looks for the header anywhere near the start of the file. */
__asm__(".balign 4\n"
        ".long 0x1badb002, 0, -0x1badb002\n"
        ".globl start\n"
        "start: mov $0x90000, %esp\n"
        "push %ebx\n"
        "call work\n");

/* The number after @name; 1 if it is not there */
static uint32_t option(const char *text, const char *name)
{
    uint32_t n = 0;

    for (; *text; text++) {
        uint32_t i = 0;

        while (name[i] && text[i] == name[i]) {
            i++;
        }
        if (!name[i]) {
            for (text += i; *text >= '0' && *text <= '9'; text++) {
                n = n * 10 + (*text - '0');
            }
            return n;
        }
    }
    return 1;
}

/* Half of the pages have an equal, as guests' have. */
static void fill(uint32_t end)
{
    for (uint32_t at = FIRST_MIB * MIB; at < end; at += 4) {
        uint32_t page = at / PAGE;

        *(volatile uint32_t *)at = page & 1 ? page : at % PAGE;
    }
}

static uint32_t pass(uint32_t end, uint32_t number)
{
    uint32_t sum = 0, hot_end = (FIRST_MIB + HOT_MIB) * MIB;

    for (uint32_t at = FIRST_MIB * MIB; at < hot_end; at += 4) {
        *(volatile uint32_t *)at = at ^ number;
    }
    for (uint32_t at = hot_end; at < end; at += PAGE) {
        sum += *(volatile uint32_t *)at;
    }
    return sum;
}

static void tell(char what)
{
    __asm__ volatile("outb %0, %1" : : "a" (what), "Nd" (0xe9));
}

void work(const struct multiboot_info *info)
{
    const char *text = info->flags & MULTIBOOT_CMDLINE
                       ? (const char *)info->cmdline : "";
    uint32_t passes = option(text, "passes=");
    uint32_t end = option(text, "mib=") * MIB;

    fill(end);
    for (uint32_t number = 0; ; tell('.')) {
        for (uint32_t i = 0; i < passes; i++) {
            pass(end, number++);
        }
    }
}
