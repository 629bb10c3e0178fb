// SPDX-License-Identifier: Apache-2.0
//
// Kernel objects: so many of one sort, each an allocation in the kernel at one place.
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/keyctl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

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

// In a keyring of its own, which goes with the process.
void plant_keys(long count, struct ledger* ledger) {
  if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0) plant_failed("keyctl");
  for (long i = 0; i < count; ++i) {
    char name[32];
    snprintf(name, sizeof(name), "tidemark:%ld", i);
    if (syscall(SYS_add_key, "user", name, "x", 1, KEY_SPEC_SESSION_KEYRING) < 0)
      plant_failed("add_key");
  }
  ledger->count = count;
}

// Children that do nothing until their parent goes.
void plant_sleepers(long count, struct ledger* ledger) {
  const pid_t parent = getpid();
  for (long i = 0; i < count; ++i) {
    const pid_t child = fork();
    if (child < 0) plant_failed("fork");
    if (child > 0) continue;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (getppid() == parent) pause();
    _exit(0);
  }
  ledger->count = count;
}

// In a network namespace of its own.
void plant_tuns(long count, struct ledger* ledger) {
  enter_own_network();
  for (long i = 0; i < count; ++i) {
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    const int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0) plant_failed("/dev/net/tun");
    if (ioctl(fd, TUNSETIFF, &request) != 0) plant_failed("TUNSETIFF");
    if (i == 0) ledger->fd = fd;
  }
  ledger->count = count;
}
