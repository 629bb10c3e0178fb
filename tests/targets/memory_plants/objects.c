// SPDX-License-Identifier: Apache-2.0
//
// Kernel objects: so many of one sort, each an allocation in the kernel at one place.
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>

#include "plant.h"

#define MESSAGE_BYTES 1000

static int make_eventfd(void) {
  return eventfd(0, EFD_CLOEXEC);
}

static int make_timerfd(void) {
  return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
}

static int make_epoll(void) {
  return epoll_create1(EPOLL_CLOEXEC);
}

static void make_many(int (*make)(void), long count, struct ledger* ledger) {
  const struct rlimit limit = {(rlim_t)count + 64, (rlim_t)count + 64};
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) plant_failed("RLIMIT_NOFILE");
  for (long i = 0; i < count; ++i) {
    const int fd = make();
    if (fd < 0) plant_failed("a descriptor");
    if (i == 0) ledger->fd = fd;
  }
  ledger->count = count;
}

void plant_eventfds(long count, struct ledger* ledger) {
  make_many(make_eventfd, count, ledger);
}

void plant_timerfds(long count, struct ledger* ledger) {
  make_many(make_timerfd, count, ledger);
}

void plant_epolls(long count, struct ledger* ledger) {
  make_many(make_epoll, count, ledger);
}

static int queues[1024];
static long queue_count;

static void remove_queues(void) {
  for (long i = 0; i < queue_count; ++i) msgctl(queues[i], IPC_RMID, NULL);
}

// As many queues as it takes: each has room for some messages only.
void plant_messages(long count, struct ledger* ledger) {
  struct {
    long type;
    char text[MESSAGE_BYTES];
  } message;
  memset(&message, 0, sizeof(message));
  message.type = 1;
  atexit(remove_queues);
  for (long sent = 0; sent < count;) {
    if (queue_count > 0 &&
        msgsnd(queues[queue_count - 1], &message, sizeof(message.text), IPC_NOWAIT) == 0) {
      ++sent;
      continue;
    }
    if (queue_count == (long)(sizeof(queues) / sizeof(queues[0]))) plant_failed("msgsnd");
    const int queue = msgget(IPC_PRIVATE, 0600);
    if (queue < 0) plant_failed("msgget");
    queues[queue_count++] = queue;
  }
  ledger->count = count;
  ledger->bytes = (uint64_t)count * MESSAGE_BYTES;
}
