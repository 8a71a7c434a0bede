/* The load of the benchmarks: WebSocket subscribers and one publisher, in one thread over epoll, so that what is
 * measured is the server. It counts frames; it does not read what is in them. The publisher can also be a client who
 * asks and waits for answers, over WebSocket or HTTP; then there need not be subscribers.
 *
 *   generator SCRIPT                             a file of one `key value` per line, see `read_script`
 *
 * It attaches all clients and prints `ready SECONDS`. For each line `SECONDS WINDOW` that it reads from its input then,
 * it publishes for so long, with so many publishes under way at once, and prints
 * `ran NUMBER PUBLISHED DELIVERED LATER MISSING SECONDS P50_US P99_US`: in this time, and after it. It ends with its
 * input. Any fault ends it with a message: a benchmark of a broken server is none.
 *
 * The latency is that of a publish, from its being sent to its last delivery, or of a question until its answer. It is
 * known when deliveries can be told apart by counting: with one publish at a time, or one delivery for each.
 */
#define _GNU_SOURCE
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
#define MOST_PORTS 16
#define BUFFER (1 << 18)       /* one read: enough that a burst for one subscriber is one call */
#define LONGEST (1 << 17)      /* one text of the script, with room for the numbers in it */
#define MOST_SAMPLES (1 << 20) /* latencies kept of one run */
#define ATTACHING 64           /* connections being set up at once: fewer than any server's backlog */
#define PATIENCE_S 20.0        /* for an answer in the set-up */
#define DRAIN_S 5.0            /* for what is still on its way at the end of a run: much, with a large fan */
#define WAIT_S 0.1             /* at most, before the time is looked at again */

struct client {
  int fd, step, upgraded, head_at;
  uint64_t frames, skip; /* whole frames (or answers) seen; bytes left of the one that is being skipped */
  unsigned char head[14];
  char upgrade[4];
};

struct side { /* how subscribers, or the publisher, attach */
  int ports[MOST_PORTS], port_count; /* clients take turns */
  char path[128];
  char *steps[MOST_STEPS]; /* texts to send, one after each `wait` frames */
  int wait[MOST_STEPS], count, ending; /* frames to wait for after the last text */
};

static struct side sub, pub;
static int subscribers = 1, rooms = 1, each = 1, fan, window = 1, pace, asks;
static char *publish = "", *http, *scratch;
static struct client *clients; /* the publisher is the last */
static int epoll, attached;
static uint64_t delivered, answered, samples;
static double *latency, *sent_at;

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

static void add_port(struct side *side, const char *value) {
  if (side->port_count == MOST_PORTS) fail("there are at most %d ports", MOST_PORTS);
  side->ports[side->port_count++] = atoi(value);
}

/* %1$d in a path or a text is the number of the room. */
static void read_script(const char *name) {
  static char line[LONGEST];
  FILE *file = fopen(name, "r");
  if (!file) fail("%s: %s", name, strerror(errno));
  while (fgets(line, sizeof line, file)) {
    line[strcspn(line, "\n")] = 0;
    char *value = strchr(line, ' ');
    if (!value) fail("no value: %s", line);
    *value++ = 0;
    if (!strcmp(line, "subscribers")) subscribers = atoi(value);
    else if (!strcmp(line, "rooms")) rooms = atoi(value);
    else if (!strcmp(line, "each")) each = atoi(value);     /* rooms that one subscriber enters, by its last step */
    else if (!strcmp(line, "fan")) fan = atoi(value);       /* deliveries due for one publish; 0: those of one room */
    else if (!strcmp(line, "window")) window = atoi(value); /* the most that a run may have */
    else if (!strcmp(line, "pace")) pace = atoi(value);     /* publishes a second; 0: as fast as the window lets */
    else if (!strcmp(line, "asks")) asks = atoi(value);     /* the window is over answers, not deliveries */
    else if (!strcmp(line, "http")) http = strdup(value);   /* the path to POST to, instead of WebSocket */
    else if (!strcmp(line, "publish")) publish = strdup(value);
    else if (!strcmp(line, "sub.port")) add_port(&sub, value);
    else if (!strcmp(line, "sub.path")) snprintf(sub.path, sizeof sub.path, "%s", value);
    else if (!strcmp(line, "sub.step")) add_step(&sub, value); /* FRAMES TEXT: so many must have come before it */
    else if (!strcmp(line, "sub.ending")) sub.ending = atoi(value); /* frames in all when it is attached */
    else if (!strcmp(line, "pub.port")) add_port(&pub, value);
    else if (!strcmp(line, "pub.path")) snprintf(pub.path, sizeof pub.path, "%s", value);
    else if (!strcmp(line, "pub.step")) add_step(&pub, value);
    else if (!strcmp(line, "pub.ending")) pub.ending = atoi(value);
    else fail("unknown: %s", line);
  }
  fclose(file);
  if (!fan) fan = subscribers ? subscribers * each / rooms : 1;
}

/* -- Frames ------------------------------------------------------------------------------------------------------ */

/* A client's frames must have a mask. One of zeros is a mask, and leaves the text as it is. */
static size_t put_frame(char *to, const char *format, int room) {
  char *text = to + 14;
  size_t length = (size_t)snprintf(text, LONGEST, format, room);
  int bytes = length < 126 ? 0 : length < 65536 ? 2 : 8; /* that the length takes up */
  to[0] = (char)0x81;
  to[1] = (char)(0x80 | (bytes == 0 ? (int)length : bytes == 2 ? 126 : 127));
  for (int at = 0; at < bytes; at++) to[2 + at] = (char)(length >> 8 * (bytes - 1 - at));
  memset(to + 2 + bytes, 0, 4);
  memmove(to + 6 + bytes, text, length);
  return 6 + (size_t)bytes + length;
}

static size_t put_request(char *to, const char *format, int room) {
  char path[160], *text = to + 512;
  size_t length = (size_t)snprintf(text, LONGEST, format, room);
  snprintf(path, sizeof path, http, room);
  size_t head = (size_t)snprintf(to, 512,
                                 "POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
                                 "Content-Length: %zu\r\n\r\n",
                                 path, length);
  memmove(to + head, text, length);
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

/* The same for answers of HTTP, which must be good ones and say how long they are. */
static uint64_t count_answers(struct client *client, const char *data, size_t length) {
  static char head[4096]; /* there is one such client */
  uint64_t before = client->frames;
  const char *end = data + length;
  while (data < end) {
    if (client->skip) {
      size_t step = client->skip < (uint64_t)(end - data) ? client->skip : (size_t)(end - data);
      data += step;
      client->skip -= step;
      if (!client->skip) client->frames++;
      continue;
    }
    if (client->head_at == sizeof head - 1) fail("an answer's headers are too long");
    head[client->head_at++] = *data++;
    if (client->head_at < 4 || memcmp(head + client->head_at - 4, "\r\n\r\n", 4)) continue;
    head[client->head_at] = 0;
    client->head_at = 0;
    char *said = strcasestr(head, "\ncontent-length:");
    if (memcmp(head, "HTTP/1.1 200", 12) || !said) fail("no good answer: %.60s", head);
    client->skip = strtoull(said + 16, NULL, 10);
    if (!client->skip) client->frames++;
  }
  return client->frames - before;
}

/* -- Attaching --------------------------------------------------------------------------------------------------- */

static void open_client(struct client *client, const struct side *side) {
  int number = (int)(client - clients), room = number % rooms;
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)side->ports[number % side->port_count])};
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
  if (number == subscribers && http) {
    client->upgraded = 1;
    attached++;
    return;
  }
  snprintf(path, sizeof path, side->path, room);
  int length = snprintf(head, sizeof head,
                        "GET %s HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                        path);
  send_all(client, head, (size_t)length);
}

/* Send the texts that are due now. The last step is done once for each room of the client. */
static void advance(struct client *client) {
  int number = (int)(client - clients);
  const struct side *side = number == subscribers ? &pub : &sub;
  int again = number == subscribers || !side->count ? 0 : each - 1, count = side->count + again;
  if (client->step > count) return;
  for (; client->step < count; client->step++) {
    int step = client->step < side->count ? client->step : side->count - 1, nth = client->step - step;
    if (client->frames < (uint64_t)(side->wait[step] + nth)) return;
    size_t length = put_frame(scratch, side->steps[step], (number + nth * subscribers) % rooms);
    send_all(client, scratch, length);
  }
  if (client->frames >= (uint64_t)(side->ending + again)) client->step++, attached++;
}

/* Read what is there; return how many whole frames came. */
static uint64_t receive(struct client *client) {
  static unsigned char data[BUFFER];
  ssize_t length = recv(client->fd, data, sizeof data, 0);
  if (length < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  if (length <= 0) fail("the server closed a connection: %s", length ? strerror(errno) : "in order");
  unsigned char *at = data, *end = data + length;
  if (client == clients + subscribers && http) return count_answers(client, (char *)data, (size_t)length);
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

/* Read from all that have something, waiting for one of them; count what came. */
static void poll_once(double seconds) {
  static struct epoll_event events[1024];
  struct timespec most = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (time_t)seconds) * 1e9)};
  int ready = epoll_pwait2(epoll, events, 1024, &most, NULL);
  for (int i = 0; i < ready; i++) {
    struct client *client = events[i].data.ptr;
    uint64_t frames = receive(client);
    if (client == clients + subscribers) answered += frames;
    else delivered += frames;
    if (frames) advance(client);
  }
}

static void attach_all(void) {
  double start = now();
  for (int opened = 0; attached <= subscribers;) {
    int before = attached;
    double until = now() + PATIENCE_S;
    while (opened < subscribers && opened - attached < ATTACHING) open_client(clients + opened++, &sub);
    /* The publisher comes last: what it publishes must find everyone. */
    if (attached == subscribers && opened == subscribers) open_client(clients + opened++, &pub);
    while (attached == before && now() < until) poll_once(WAIT_S);
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

static uint64_t in_full(void) { return asks ? answered : delivered / (uint64_t)fan; }

static void run(double seconds, int at_once, int *room) {
  struct client *publisher = clients + subscribers;
  uint64_t published = 0, done = 0;
  double start = now(), until = start + seconds, time = start;
  int is_timed = at_once == 1 || asks || fan == 1;
  delivered = answered = samples = 0;
  while (time < until) {
    size_t length = 0;
    double due = 0;
    while (published < done + (uint64_t)at_once) {
      if (pace && (due = start + (double)published / pace) > time) break;
      length += http ? put_request(scratch + length, publish, *room) : put_frame(scratch + length, publish, *room);
      *room = (*room + 1) % rooms;
      sent_at[published++ % (uint64_t)at_once] = time;
    }
    if (length) send_all(publisher, scratch, length);
    poll_once(due > time && due - time < WAIT_S ? due - time : WAIT_S);
    time = now();
    for (; done < in_full(); done++)
      if (is_timed && samples < MOST_SAMPLES) latency[samples++] = (time - sent_at[done % (uint64_t)at_once]) * 1e6;
  }
  double took = now() - start;
  uint64_t *came = subscribers ? &delivered : &answered, in_time = *came, due = published * (uint64_t)fan;
  for (until = now() + DRAIN_S; now() < until;) {
    if ((!subscribers || delivered >= due) && (!asks || answered >= published)) break;
    poll_once(WAIT_S);
  }
  qsort(latency, samples, sizeof *latency, by_size);
  static int number;
  printf("ran %d %llu %llu %llu %lld %.6f %.2f %.2f\n", ++number, (unsigned long long)published,
         (unsigned long long)in_time, (unsigned long long)(*came - in_time), (long long)(due - *came), took,
         samples ? latency[samples / 2] : 0.0, samples ? latency[samples * 99 / 100] : 0.0);
  fflush(stdout);
}

int main(int count, char **arguments) {
  struct rlimit files;
  char line[64];
  int room = 0, at_once;
  double seconds;
  if (count != 2) fail("usage: generator SCRIPT");
  read_script(arguments[1]);
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  clients = calloc((size_t)subscribers + 1, sizeof *clients);
  latency = calloc(MOST_SAMPLES, sizeof *latency);
  sent_at = calloc((size_t)window, sizeof *sent_at);
  scratch = malloc((size_t)window * (strlen(publish) + 512) + 2 * LONGEST);
  epoll = epoll_create1(0);
  if (!clients || !latency || !sent_at || !scratch || epoll < 0) fail("no memory");
  attach_all();
  while (fgets(line, sizeof line, stdin)) {
    if (sscanf(line, "%lf %d", &seconds, &at_once) != 2 || at_once < 1 || at_once > window)
      fail("a run is `SECONDS WINDOW`, and a window of at most %d: %s", window, line);
    run(seconds, at_once, &room);
  }
  return 0;
}
