/* The load of the benchmarks: WebSocket subscribers and one publisher, in one thread over epoll, so that what is
 * measured is the server. It counts frames; it does not read what is in them.
 *
 *   generator SCRIPT                             a file of one `key value` per line, see `read_script`
 *
 * It attaches all subscribers and prints `ready SECONDS`. For each line that it reads from its input then, a number of
 * seconds, it publishes for so long and prints `ran NUMBER PUBLISHED DELIVERED MISSING SECONDS P50_US P99_US`. It ends
 * with its input. Any fault ends it with a message: a benchmark of a broken server is none.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST_STEPS 8
#define BUFFER (1 << 18)       /* one read: enough that a burst for one subscriber is one call */
#define MOST_SAMPLES (1 << 20) /* latencies kept of one run */
#define ATTACHING 64           /* connections being set up at once: fewer than any server's backlog */
#define PATIENCE_S 20.0        /* for an answer in the set-up */
#define DRAIN_S 2.0            /* for what is still on its way at the end of a run */

struct client {
  int fd, step, upgraded, head_at;
  uint64_t frames, skip; /* whole frames seen; bytes left of the frame that is being skipped */
  unsigned char head[14];
  char upgrade[4];
};

struct side { /* how subscribers, or the publisher, attach */
  int port;
  char path[128];
  char *steps[MOST_STEPS]; /* texts to send, one after each `wait` frames */
  int wait[MOST_STEPS], count, ending; /* frames to wait for after the last text */
};

static struct side sub, pub;
static int subscribers = 1, rooms = 1, window = 1, pace;
static char *publish = "", *scratch;
static struct client *clients; /* the publisher is the last */
static int epoll, attached;
static uint64_t delivered, samples;
static double *latency;

static void fail(const char *format, ...) {
  va_list rest;
  va_start(rest, format);
  fprintf(stderr, "generator: ");
  vfprintf(stderr, format, rest);
  fprintf(stderr, "\n");
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

/* -- Script ------------------------------------------------------------------------------------------------------ */

static void add_step(struct side *side, char *value) {
  char *text = strchr(value, ' ');
  if (!text || side->count == MOST_STEPS) fail("a step is `FRAMES TEXT`, and there are at most %d", MOST_STEPS);
  side->wait[side->count] = atoi(value);
  side->steps[side->count++] = strdup(text + 1);
}

/* A path and a text may have one %d each, the number of the room. */
static void read_script(const char *name) {
  static char line[1 << 17];
  FILE *file = fopen(name, "r");
  if (!file) fail("%s: %s", name, strerror(errno));
  while (fgets(line, sizeof line, file)) {
    line[strcspn(line, "\n")] = 0;
    char *value = strchr(line, ' ');
    if (!value) fail("no value: %s", line);
    *value++ = 0;
    if (!strcmp(line, "subscribers")) subscribers = atoi(value);
    else if (!strcmp(line, "rooms")) rooms = atoi(value);
    else if (!strcmp(line, "window")) window = atoi(value);
    else if (!strcmp(line, "pace")) pace = atoi(value); /* publishes a second; 0: as fast as the window lets */
    else if (!strcmp(line, "publish")) publish = strdup(value);
    else if (!strcmp(line, "sub.port")) sub.port = atoi(value);
    else if (!strcmp(line, "sub.path")) snprintf(sub.path, sizeof sub.path, "%s", value);
    else if (!strcmp(line, "sub.step")) add_step(&sub, value); /* FRAMES TEXT: so many must have come before it */
    else if (!strcmp(line, "sub.ending")) sub.ending = atoi(value); /* frames in all when it is attached */
    else if (!strcmp(line, "pub.port")) pub.port = atoi(value);
    else if (!strcmp(line, "pub.path")) snprintf(pub.path, sizeof pub.path, "%s", value);
    else if (!strcmp(line, "pub.step")) add_step(&pub, value);
    else if (!strcmp(line, "pub.ending")) pub.ending = atoi(value);
    else fail("unknown: %s", line);
  }
  fclose(file);
}

/* -- Frames ------------------------------------------------------------------------------------------------------ */

/* A client's frames must have a mask. One of zeros is a mask, and leaves the text as it is. */
static size_t put_frame(char *to, const char *format, int room) {
  char *text = to + 8;
  size_t length = (size_t)snprintf(text, 1 << 17, format, room);
  size_t head = length < 126 ? 6 : 8;
  if (length > 65535) fail("a text of %zu bytes is too long", length);
  if (head == 6) memmove(to + 6, text, length);
  to[0] = (char)0x81;
  if (length < 126) to[1] = (char)(0x80 | length);
  else to[1] = (char)(0x80 | 126), to[2] = (char)(length >> 8), to[3] = (char)length;
  memset(to + head - 4, 0, 4);
  return head + length;
}

static void send_all(struct client *client, const char *data, size_t length) {
  while (length) {
    ssize_t sent = send(client->fd, data, length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) fail("send: %s", strerror(errno));
    if (sent > 0) data += sent, length -= (size_t)sent;
  }
}

/* Count the whole frames in what came; a frame may be torn anywhere. */
static uint64_t count_frames(struct client *client, const unsigned char *data, size_t length) {
  uint64_t before = client->frames;
  const unsigned char *end = data + length;
  while (data < end) {
    if (client->skip) {
      size_t step = client->skip < (uint64_t)(end - data) ? client->skip : (size_t)(end - data);
      data += step;
      client->skip -= step;
      if (!client->skip) client->frames++;
      continue;
    }
    client->head[client->head_at++] = *data++;
    if (client->head_at < 2) continue;
    if (client->head[0] != 0x81) fail("a frame 0x%02x came where text was due", client->head[0]);
    int size = client->head[1] == 127 ? 10 : client->head[1] == 126 ? 4 : 2;
    if (client->head_at < size) continue;
    uint64_t payload = size == 2 ? client->head[1] : 0;
    for (int at = 2; at < size; at++) payload = payload << 8 | client->head[at];
    client->head_at = 0;
    client->skip = payload;
    if (!payload) client->frames++;
  }
  return client->frames - before;
}

/* -- Attaching --------------------------------------------------------------------------------------------------- */

static void open_client(struct client *client, const struct side *side) {
  int room = (int)(client - clients) % rooms;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)side->port)};
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
  int on = 1;
  char path[160], head[512];
  inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
  client->fd = socket(AF_INET, SOCK_STREAM, 0);
  if (client->fd < 0) fail("socket: %s", strerror(errno));
  if (connect(client->fd, (struct sockaddr *)&address, sizeof address)) fail("connect: %s", strerror(errno));
  setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  fcntl(client->fd, F_SETFL, O_NONBLOCK);
  epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &event);
  snprintf(path, sizeof path, side->path, room);
  int length = snprintf(head, sizeof head,
                        "GET %s HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                        path);
  send_all(client, head, (size_t)length);
}

/* Send the texts that are due now; tell whether the client just became attached. */
static void advance(struct client *client) {
  int number = (int)(client - clients);
  const struct side *side = number == subscribers ? &pub : &sub;
  if (client->step > side->count) return;
  while (client->step < side->count && client->frames >= (uint64_t)side->wait[client->step]) {
    size_t length = put_frame(scratch, side->steps[client->step++], number % rooms);
    send_all(client, scratch, length);
  }
  if (client->step == side->count && client->frames >= (uint64_t)side->ending) client->step++, attached++;
}

/* Read what is there; return how many whole frames came. */
static uint64_t receive(struct client *client) {
  static unsigned char data[BUFFER];
  ssize_t length = recv(client->fd, data, sizeof data, 0);
  if (length < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  if (length <= 0) fail("the server closed a connection: %s", length ? strerror(errno) : "in order");
  unsigned char *at = data, *end = data + length;
  if (!client->upgraded) {
    if (client->upgrade[0] == 0 && memcmp(at, "HTTP/1.1 101", 12)) fail("no upgrade: %.60s", at);
    while (at < end && !client->upgraded) {
      memmove(client->upgrade, client->upgrade + 1, 3);
      client->upgrade[3] = (char)*at++;
      client->upgraded = !memcmp(client->upgrade, "\r\n\r\n", 4);
    }
    if (client->upgraded) advance(client);
  }
  return count_frames(client, at, (size_t)(end - at));
}

static uint64_t poll_once(int timeout_ms) {
  static struct epoll_event events[1024];
  uint64_t count = 0;
  int ready = epoll_wait(epoll, events, 1024, timeout_ms);
  for (int i = 0; i < ready; i++) {
    struct client *client = events[i].data.ptr;
    uint64_t frames = receive(client);
    if (client != clients + subscribers) count += frames;
    if (frames) advance(client);
  }
  return count;
}

static void attach_all(void) {
  double start = now();
  for (int opened = 0; attached <= subscribers;) {
    /* The publisher comes last: what it publishes must find everyone. */
    while (opened < subscribers && opened - attached < ATTACHING) open_client(clients + opened++, &sub);
    if (attached == subscribers && opened == subscribers) open_client(clients + opened++, &pub);
    int before = attached;
    double until = now() + PATIENCE_S;
    while (attached == before && now() < until) poll_once(100);
    if (attached == before) fail("%d of %d clients attached, then nothing more", attached, subscribers + 1);
  }
  printf("ready %.6f\n", now() - start);
  fflush(stdout);
}

/* -- Running ----------------------------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static void run(double seconds, int *room) {
  struct client *publisher = clients + subscribers;
  uint64_t fan = (uint64_t)(subscribers / rooms), published = 0;
  double start = now(), until = start + seconds, sent_at = start, time = start;
  int is_timed = window == 1 && fan == 1;
  delivered = samples = 0;
  while (time < until) {
    uint64_t done = delivered / fan;
    size_t length = 0;
    while (published < done + (uint64_t)window && (!pace || time >= start + (double)published / pace)) {
      length += put_frame(scratch + length, publish, *room);
      *room = (*room + 1) % rooms;
      published++;
    }
    if (length) sent_at = now(), send_all(publisher, scratch, length);
    uint64_t came = poll_once(pace && published == delivered / fan ? 0 : 100);
    delivered += came;
    time = now();
    if (came && is_timed && samples < MOST_SAMPLES) latency[samples++] = (time - sent_at) * 1e6;
  }
  double took = now() - start;
  uint64_t in_time = delivered;
  for (until = now() + DRAIN_S; delivered < published * fan && now() < until;) delivered += poll_once(100);
  qsort(latency, samples, sizeof *latency, by_size);
  static int number;
  printf("ran %d %llu %llu %llu %.6f %.2f %.2f\n", ++number, (unsigned long long)published, (unsigned long long)in_time,
         (unsigned long long)(published * fan - delivered), took, samples ? latency[samples / 2] : 0.0,
         samples ? latency[samples * 99 / 100] : 0.0);
  fflush(stdout);
}

int main(int count, char **arguments) {
  struct rlimit files;
  char line[64];
  int room = 0;
  if (count != 2) fail("usage: generator SCRIPT");
  read_script(arguments[1]);
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  clients = calloc((size_t)subscribers + 1, sizeof *clients);
  latency = calloc(MOST_SAMPLES, sizeof *latency);
  scratch = malloc((size_t)window * (strlen(publish) + 64) + (1 << 18));
  epoll = epoll_create1(0);
  if (!clients || !latency || !scratch || epoll < 0) fail("no memory");
  attach_all();
  while (fgets(line, sizeof line, stdin)) run(atof(line), &room);
  return 0;
}
