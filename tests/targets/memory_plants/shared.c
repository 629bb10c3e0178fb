// SPDX-License-Identifier: Apache-2.0
//
// Shared memory: files without a name, a full file on a tmpfs, a SysV segment that nobody attaches;
// and a process with large thread stacks.
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/shm.h>
#include <unistd.h>

#include "plant.h"

#define STACK_BYTES (32UL << 20)

static void write_bytes(int fd, uint64_t bytes) {
  static char chunk[1 << 20];
  memset(chunk, 'x', sizeof(chunk));
  for (uint64_t done = 0; done < bytes; done += sizeof(chunk)) {
    if (write(fd, chunk, sizeof(chunk)) != (ssize_t)sizeof(chunk)) plant_failed("write");
  }
}

void plant_memfd(long mib, struct ledger* ledger) {
  const int fd = memfd_create("tidemark-plant", MFD_CLOEXEC);
  if (fd < 0) plant_failed("memfd_create");
  write_bytes(fd, mebibytes(mib));
  ledger->fd = fd;
  ledger->bytes = mebibytes(mib);
  ledger->name = "memfd:tidemark-plant";
}

// The descriptor is closed: only the mapping holds it.
void plant_mapped_memfd(long mib, struct ledger* ledger) {
  plant_memfd(mib, ledger);
  void* memory = mmap(NULL, mebibytes(mib), PROT_READ, MAP_SHARED, ledger->fd, 0);
  if (memory == MAP_FAILED) plant_failed("mmap of the memfd");
  close(ledger->fd);
  ledger->fd = -1;
}

void plant_shared_anonymous(long mib, struct ledger* ledger) {
  const int flags = MAP_SHARED | MAP_ANONYMOUS;
  void* memory = mmap(NULL, mebibytes(mib), PROT_READ | PROT_WRITE, flags, -1, 0);
  if (memory == MAP_FAILED) plant_failed("mmap");
  memset(memory, 'x', mebibytes(mib));
  ledger->bytes = mebibytes(mib);
  ledger->name = "/dev/zero";
}

// A tmpfs that only this process sees, over /mnt.
static void mount_own_tmpfs(void) {
  if (unshare(CLONE_NEWNS) != 0) plant_failed("unshare");
  if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
    plant_failed("mount --make-private");
  if (mount("tidemark-plant", "/mnt", "tmpfs", 0, "size=1g") != 0) plant_failed("mount tmpfs");
}

static int create(const char* path) {
  const int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) plant_failed(path);
  return fd;
}

void plant_deleted_file(long mib, struct ledger* ledger) {
  mount_own_tmpfs();
  ledger->fd = create("/mnt/log");
  write_bytes(ledger->fd, mebibytes(mib));
  if (unlink("/mnt/log") != 0) plant_failed("unlink");
  ledger->bytes = mebibytes(mib);
  ledger->name = "/mnt/log";
}

void plant_tmpfs_file(long mib, struct ledger* ledger) {
  mount_own_tmpfs();
  const int fd = create("/mnt/full file");
  write_bytes(fd, mebibytes(mib));
  close(fd);
  const int small = create("/mnt/small");
  write_bytes(small, mebibytes(1));
  close(small);
  ledger->bytes = mebibytes(mib);
  ledger->name = "/full file";
}

static int segment = -1;

static void remove_segment(void) {
  shmctl(segment, IPC_RMID, NULL);
}

static void* attach_segment(long mib, struct ledger* ledger) {
  segment = shmget(IPC_PRIVATE, mebibytes(mib), IPC_CREAT | 0600);
  if (segment < 0) plant_failed("shmget");
  atexit(remove_segment);
  void* memory = shmat(segment, NULL, 0);
  if (memory == (void*)-1) plant_failed("shmat");
  memset(memory, 'x', mebibytes(mib));
  ledger->count = segment;
  ledger->bytes = mebibytes(mib);
  return memory;
}

void plant_sysv(long mib, struct ledger* ledger) {
  shmdt(attach_segment(mib, ledger));
}

void plant_sysv_attached(long mib, struct ledger* ledger) {
  attach_segment(mib, ledger);
}

static void* sleep_on(void* unused) {
  for (;;) pause();
  return unused;
}

void plant_stacks(long count, struct ledger* ledger) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, STACK_BYTES);
  for (long i = 0; i < count; ++i) {
    pthread_t thread;
    if (pthread_create(&thread, &attributes, sleep_on, NULL) != 0) plant_failed("pthread_create");
  }
  ledger->count = count;
  ledger->bytes = (uint64_t)count * STACK_BYTES;
}
