// SPDX-License-Identifier: GPL-2.0-only
/*
 * The files of /sys/kernel/mm/ksm against their documentation, both ways: what
 * is described exists, and what exists is described.
 *
 * KSM_ABI_FILE in the environment is the path of sysfs-kernel-mm-ksm in
 * Documentation/ABI/testing of the kernel that runs.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "ksm_util.h"

static char described[128][64];
static size_t nr_described;

static void add_described(const char *name)
{
	must(nr_described < ARRAY_SIZE(described), "too many files described");
	must(strlen(name) < sizeof(described[0]), "\"%s\" is no file's name",
	     name);
	strcpy(described[nr_described++], name);
}

static bool is_described(const char *name)
{
	size_t i;

	for (i = 0; i < nr_described; i++)
		if (!strcmp(described[i], name))
			return true;
	return false;
}

/*
 * "What: PATH" stands for one file; further paths may follow on lines of their
 * own.  Any other key ends them.
 */
static void read_document(void)
{
	const char *path = getenv("KSM_ABI_FILE"), *name;
	char line[512], word[256];
	bool is_what = false;
	FILE *f;

	if (!ksm_is_samepage())
		skip("the document is that of another engine");
	if (!path || !*path)
		skip("KSM_ABI_FILE does not name the document");
	f = fopen(path, "re");
	must(f, "%s: %m", path);
	while (fgets(line, sizeof(line), f)) {
		name = line;
		if (!strncmp(line, "What:", 5)) {
			is_what = true;
			name += 5;
		} else if (line[0] != '\t' && line[0] != ' ') {
			is_what = false;
		}
		if (!is_what || sscanf(name, " %255s", word) != 1)
			continue;
		if (!strncmp(word, KSM_DIR, strlen(KSM_DIR)) &&
		    word[strlen(KSM_DIR)])
			add_described(word + strlen(KSM_DIR));
	}
	fclose(f);
	must(nr_described > 10, "%s describes only %zu files", path,
	     nr_described);
}

static void test_described_exist(void)
{
	size_t i;

	read_document();
	for (i = 0; i < nr_described; i++) {
		/* One file depends on the configuration, and says so. */
		if (!strcmp(described[i], "merge_across_nodes") &&
		    access("/sys/devices/system/node/node0", F_OK))
			continue;
		must(ksm_has(described[i]),
		     KSM_DIR "%s is described and does not exist",
		     described[i]);
	}
	ksm_note("abi: %zu files are described", nr_described);
}

static void test_existing_described(void)
{
	struct dirent *d;
	int n = 0;
	DIR *dir;

	read_document();
	dir = opendir(KSM_DIR);
	must(dir, KSM_DIR ": %m");
	while ((d = readdir(dir))) {
		if (d->d_name[0] == '.')
			continue;
		must(is_described(d->d_name),
		     KSM_DIR "%s exists and is not described", d->d_name);
		n++;
	}
	closedir(dir);
	must(n > 10, KSM_DIR " has only %d files", n);
}

/* Each once: a second entry would be read instead of the first, or not. */
static void test_described_once(void)
{
	size_t i, j;

	read_document();
	for (i = 0; i < nr_described; i++)
		for (j = i + 1; j < nr_described; j++)
			must(strcmp(described[i], described[j]),
			     "%s is described twice", described[i]);
}

/* Modes are what the document says of all: 0444 counters, 0644 controls. */
static void test_modes(void)
{
	char path[128];
	struct stat st;
	size_t i;

	read_document();
	for (i = 0; i < nr_described; i++) {
		snprintf(path, sizeof(path), KSM_DIR "%.63s", described[i]);
		if (stat(path, &st))
			continue;
		must((st.st_mode & 07777) == 0444 ||
		     (st.st_mode & 07777) == 0644,
		     "mode of %s is %04o, expected 0444 or 0644", path,
		     st.st_mode & 07777);
	}
}

static const struct ksm_case cases[] = {
	{ "described_exist", test_described_exist },
	{ "existing_described", test_existing_described },
	{ "described_once", test_described_once },
	{ "modes", test_modes },
	{ }
};

const struct ksm_topic topic_abi = { "abi", cases };
