// SPDX-License-Identifier: Apache-2.0
//
// Work that allocates in the kernel, once, for tools/bench-kernel: says the nanoseconds of wall
// time and of CPU time (its own and its children's) that it took.
//
//   kernel_bench spawn COUNT       fork, exec of /bin/true and exit, COUNT times
//   kernel_bench loopback MIB      MIB of TCP over 127.0.0.1, from one thread to another
//   kernel_bench find DIRECTORY    find, asking for the size of each file in DIRECTORY
#include <arpa/inet.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "target.h"

enum { CHUNK_BYTES = 1 << 16, FAILED = 71, USAGE = 64 };

static long long nanoseconds_of(struct timeval time) {
  return time.tv_sec * 1000000000LL + time.tv_usec * 1000LL;
}

static long long cpu_nanoseconds(void) {
  static const int whose[] = {RUSAGE_SELF, RUSAGE_CHILDREN};
  long long sum = 0;
  for (size_t i = 0; i < sizeof(whose) / sizeof(whose[0]); ++i) {
    struct rusage usage;
    getrusage(whose[i], &usage);
    sum += nanoseconds_of(usage.ru_utime) + nanoseconds_of(usage.ru_stime);
  }
  return sum;
}

static long long wall_nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void run_command(char* const* arguments) {
  const pid_t child = fork();
  if (child == 0) {
    execvp(arguments[0], arguments);
    _exit(FAILED);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || status != 0) _exit(FAILED);
}

static void spawn(const char* count) {
  char* const arguments[] = {"/bin/true", NULL};
  for (long i = atol(count); i > 0; --i) run_command(arguments);
}

static void find(const char* directory) {
  char place[4096];
  snprintf(place, sizeof(place), "%s", directory);
  char* const arguments[] = {"find", place, "-xdev", "-size", "+1024G", NULL};
  run_command(arguments);
}

static void send_whole(int peer, const char* bytes, size_t count) {
  while (count > 0) {
    const ssize_t sent = write(peer, bytes, count);
    if (sent <= 0) _exit(FAILED);
    bytes += sent;
    count -= (size_t)sent;
  }
}

static void* receive_all(void* listener) {
  static char buffer[CHUNK_BYTES];
  const int peer = accept(*(int*)listener, NULL, NULL);
  if (peer < 0) _exit(FAILED);
  while (read(peer, buffer, sizeof(buffer)) > 0) continue;
  close(peer);
  return NULL;
}

static void loopback(const char* mebibytes) {
  static const char chunk[CHUNK_BYTES];
  struct sockaddr_in place = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof(place);
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  const int sender = socket(AF_INET, SOCK_STREAM, 0);
  pthread_t receiver;
  if (bind(listener, (struct sockaddr*)&place, length) != 0 || listen(listener, 1) != 0 ||
      getsockname(listener, (struct sockaddr*)&place, &length) != 0 ||
      pthread_create(&receiver, NULL, receive_all, &listener) != 0 ||
      connect(sender, (struct sockaddr*)&place, length) != 0)
    _exit(FAILED);
  for (long left = atol(mebibytes) * (1 << 20); left > 0; left -= CHUNK_BYTES)
    send_whole(sender, chunk, sizeof(chunk));
  close(sender);
  pthread_join(receiver, NULL);
  close(listener);
}

int main(int count, char** arguments) {
  void (*work)(const char*) = NULL;
  if (count == 3 && strcmp(arguments[1], "spawn") == 0) work = spawn;
  if (count == 3 && strcmp(arguments[1], "loopback") == 0) work = loopback;
  if (count == 3 && strcmp(arguments[1], "find") == 0) work = find;
  if (work == NULL) return USAGE;
  const long long wall = wall_nanoseconds(), cpu = cpu_nanoseconds();
  work(arguments[2]);
  printf("%lld %lld\n", wall_nanoseconds() - wall, cpu_nanoseconds() - cpu);
  return 0;
}
