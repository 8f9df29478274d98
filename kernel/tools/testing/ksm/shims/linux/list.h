/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _SHIM_LINUX_LIST_H
#define _SHIM_LINUX_LIST_H

#include <linux/kernel.h>

/* A deleted entry points here, so that using it again crashes. */
#define SHIM_LIST_POISON	((void *)0x10)

static inline void INIT_LIST_HEAD(struct list_head *head)
{
	head->prev = head;
	head->next = head;
}

static inline int list_empty(const struct list_head *head)
{
	return head == head->next;
}

static inline void shim_list_join(struct list_head *left, struct list_head *right)
{
	left->next = right;
	right->prev = left;
}

static inline void list_add(struct list_head *entry, struct list_head *head)
{
	shim_list_join(entry, head->next);
	shim_list_join(head, entry);
}

static inline void list_add_tail(struct list_head *entry, struct list_head *head)
{
	shim_list_join(head->prev, entry);
	shim_list_join(entry, head);
}

static inline void list_del(struct list_head *entry)
{
	shim_list_join(entry->prev, entry->next);
	entry->prev = SHIM_LIST_POISON;
	entry->next = SHIM_LIST_POISON;
}

static inline void list_del_init(struct list_head *entry)
{
	shim_list_join(entry->prev, entry->next);
	INIT_LIST_HEAD(entry);
}

static inline void list_move(struct list_head *entry, struct list_head *head)
{
	list_del(entry);
	list_add(entry, head);
}

static inline void list_move_tail(struct list_head *entry, struct list_head *head)
{
	list_del(entry);
	list_add_tail(entry, head);
}

static inline void list_splice_init(struct list_head *from, struct list_head *to)
{
	if (list_empty(from))
		return;
	shim_list_join(from->prev, to->next);
	shim_list_join(to, from->next);
	INIT_LIST_HEAD(from);
}

#define list_entry(ptr, type, member)	container_of(ptr, type, member)

#define list_first_entry(head, type, member) \
	list_entry((head)->next, type, member)

#define list_last_entry(head, type, member) \
	list_entry((head)->prev, type, member)

#define list_for_each_entry(pos, head, member)				\
	for ((pos) = list_first_entry(head, __typeof__(*(pos)), member);	\
	     &(pos)->member != (head);					\
	     (pos) = list_first_entry(&(pos)->member, __typeof__(*(pos)), member))

static inline int hlist_unhashed(const struct hlist_node *node)
{
	return !node->pprev;
}

static inline void shim_hlist_link(struct hlist_node *node,
				   struct hlist_node **place)
{
	node->pprev = place;
	node->next = *place;
	if (*place)
		(*place)->pprev = &node->next;
	*place = node;
}

static inline void hlist_add_head(struct hlist_node *node, struct hlist_head *head)
{
	shim_hlist_link(node, &head->first);
}

static inline void hlist_add_before(struct hlist_node *node,
				    struct hlist_node *other)
{
	shim_hlist_link(node, other->pprev);
}

static inline void hlist_del(struct hlist_node *node)
{
	*node->pprev = node->next;
	if (node->next)
		node->next->pprev = node->pprev;
	node->next = SHIM_LIST_POISON;
	node->pprev = SHIM_LIST_POISON;
}

/* As in the kernel, a node that is in no list may be passed. */
static inline void hlist_del_init(struct hlist_node *node)
{
	if (hlist_unhashed(node))
		return;
	hlist_del(node);
	node->next = NULL;
	node->pprev = NULL;
}

#define hlist_entry(ptr, type, member)	container_of(ptr, type, member)

#define hlist_entry_safe(ptr, type, member)				\
({									\
	__typeof__(ptr) __link = (ptr);					\
									\
	__link ? hlist_entry(__link, type, member) : NULL;		\
})

#define hlist_for_each_entry(pos, head, member)				\
	for ((pos) = hlist_entry_safe((head)->first, __typeof__(*(pos)), member); \
	     (pos);							\
	     (pos) = hlist_entry_safe((pos)->member.next,		\
				      __typeof__(*(pos)), member))

#define hlist_for_each_entry_safe(pos, n, head, member)			\
	for ((pos) = hlist_entry_safe((head)->first, __typeof__(*(pos)), member); \
	     (pos) && ((n) = (pos)->member.next, true);			\
	     (pos) = hlist_entry_safe(n, __typeof__(*(pos)), member))

#endif /* _SHIM_LINUX_LIST_H */
