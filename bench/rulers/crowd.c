// A crowd of clients, some of them rude: asks, checks every answer, and tells what became of it.
//
//     crowd PORT CLIENTS COUNT SEED HEADERS PLAN IDS
//
// PLAN has a line for each kind of request, with tabs between: NAME WEIGHT PATH STATUS LEAVES MARKS BODY.
//   LEAVES   "-": stays to the end. "head:MS", "half:MS", "all:MS": sends so much, and goes MS later, unless all of the
//            answer is here. "event:0": goes when the first bytes of the answer's body are here.
//   MARKS    what the answer has to have in it, with "|" between; with "!" before it: must not have. "-": nothing.
//            "@": the request's number, which stands in the body where BODY has @@@@@@@@@@.
// IDS gets a line for each answer that began: its x-generation-id, kind, and whether it was read to the end.
// Every half second a JSON line tells how many are done; the last one has everything, by kind.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { KINDS = 64, MARKS = 6, DIGITS = 10, STUCK_SECONDS = 90, WRONG_SHOWN = 20 };
enum leaves { STAYS, AFTER_HEAD, AFTER_HALF, AFTER_ALL, AFTER_EVENT };

struct kind {
    char *name, *path, *marks[MARKS];
    int weight, status, mark_count;
    enum leaves leaves;
    double leaves_after;
    char *request;              // head and body
    size_t size, head_size;
    long number_at;             // where the number goes; -1: nowhere
    long asked, right, wrong, left, left_early;
};

struct client {
    int fd;                     // -1: not connected
    struct kind *kind;
    char number[DIGITS + 1];
    char *out;
    size_t sent, goal, out_room; // of the request; how much of it is to be sent
    char *in;                   // the answer
    size_t in_size, in_room;
    size_t head_size;           // of the answer, once it is whole
    char *body;                 // without the chunks' sizes
    size_t body_size, body_room;
    size_t read_at;             // up to where `in` is understood
    long body_left;             // of content-length; -1: until the connection ends
    int status, chunked, closes, whole, writing;
    double began, leaves_at;    // 0: does not
};

static struct kind kinds[KINDS];
static int kind_count, weights, port, poller;
static long wanted, begun, done, right, wrong, left_count, connections, nameless, seed;
static FILE *ids;
static uint64_t state;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static uint32_t chance(uint32_t below) { // xorshift64*
    state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
    return (uint32_t)((state * 2685821657736338717ULL) >> 33) % below;
}

static void die(const char *why) {
    perror(why);
    exit(1);
}

static void put(char **buffer, size_t *size, size_t *room, const char *data, size_t count) {
    if (*size + count > *room) {
        *room = (*size + count) * 2;
        *buffer = realloc(*buffer, *room);
    }
    memcpy(*buffer + *size, data, count);
    *size += count;
}

// ---- the plan

static char *file(const char *path, size_t *size) {
    FILE *f = fopen(path, "r");
    if (!f) die(path);
    char *text = calloc(1, 1 << 20);
    *size = fread(text, 1, (1 << 20) - 1, f);
    while (*size && text[*size - 1] == '\n') text[--*size] = 0;
    fclose(f);
    return text;
}

static void read_plan(const char *headers_path, const char *plan_path) {
    size_t size;
    char *headers = file(headers_path, &size), *plan = file(plan_path, &size), *head = calloc(1, 16384), *line, *rest;
    for (line = strtok_r(headers, "\n", &rest); line; line = strtok_r(0, "\n", &rest)) {
        strcat(head, line);
        strcat(head, "\r\n");
    }
    for (line = strtok_r(plan, "\n", &rest); line && kind_count < KINDS; line = strtok_r(0, "\n", &rest)) {
        struct kind *kind = &kinds[kind_count++];
        char *fields[7], *cursor = line;
        for (int i = 0; i < 7; i++) fields[i] = strsep(&cursor, "\t");
        kind->name = fields[0], kind->weight = atoi(fields[1]), kind->path = fields[2], kind->status = atoi(fields[3]);
        const char *sent[] = {"-", "head:", "half:", "all:", "event:"};
        for (int i = 1; i < 5; i++)
            if (!strncmp(fields[4], sent[i], strlen(sent[i]))) {
                kind->leaves = i;
                kind->leaves_after = atof(fields[4] + strlen(sent[i])) / 1e3;
            }
        char *marks = strcmp(fields[5], "-") ? fields[5] : 0;
        while (marks && kind->mark_count < MARKS) kind->marks[kind->mark_count++] = strsep(&marks, "|");
        size_t body_size;
        char *body = file(fields[6], &body_size);
        kind->request = malloc(body_size + 20000);
        kind->head_size = sprintf(
            kind->request,
            "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n%sContent-Length: %zu\r\n\r\n",
            kind->path, port, head, body_size);
        memcpy(kind->request + kind->head_size, body, body_size);
        kind->size = kind->head_size + body_size;
        char *place = memmem(kind->request, kind->size, "@@@@@@@@@@", DIGITS);
        kind->number_at = place ? place - kind->request : -1;
        weights += kind->weight;
    }
}

// ---- one client

static void begin(struct client *c);

static void hang_up(struct client *c) {
    if (c->fd < 0) return;
    if (chance(2)) { // half of them do not even say goodbye
        struct linger at_once = {1, 0};
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
    close(c->fd);
    c->fd = -1;
}

static void watch(struct client *c, int how, int writing) {
    struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = c};
    c->writing = writing;
    epoll_ctl(poller, how, c->fd, &event);
}

static void call(struct client *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int yes = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0) die("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (connect(c->fd, (void *)&address, sizeof address)) die("connect"); // to this machine: done at once
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    connections++;
    watch(c, EPOLL_CTL_ADD, 0);
}

static void tell_id(struct client *c) {
    if (!c->head_size) return;
    char *id = strcasestr(c->in, "\r\nx-generation-id: ");
    if (!id) {
        nameless++;
        return;
    }
    id += 19;
    fprintf(ids, "%.*s\t%s\t%s\n", (int)strcspn(id, "\r"), id, c->kind->name, c->whole ? "whole" : "left");
}

static void over(struct client *c) {
    tell_id(c);
    done++;
    begin(c);
}

static void is_wrong(struct client *c, const char *why) {
    c->kind->wrong++;
    if (wrong++ < WRONG_SHOWN)
        fprintf(stderr, "%s %s: %s: status %d, %zu bytes: %.*s ... %.*s\n", c->kind->name, c->number, why, c->status,
                c->body_size, (int)(c->body_size < 300 ? c->body_size : 300), c->body ? c->body : "",
                (int)(c->body_size < 300 ? 0 : 200), c->body_size < 300 ? "" : c->body + c->body_size - 200);
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
    over(c);
}

static void leave(struct client *c) {
    c->kind->left++;
    if (!c->head_size) c->kind->left_early++;
    left_count++;
    hang_up(c);
    over(c);
}

static void answered(struct client *c) {
    struct kind *kind = c->kind;
    c->whole = 1;
    if (c->status != kind->status) {
        is_wrong(c, "another status");
        return;
    }
    if (c->read_at != c->in_size) {
        is_wrong(c, "more came than the answer");
        return;
    }
    for (int i = 0; i < kind->mark_count; i++) {
        const char *mark = kind->marks[i];
        int unwanted = *mark == '!';
        if (unwanted) mark++;
        if (!strcmp(mark, "@")) mark = c->number;
        int found = memmem(c->body, c->body_size, mark, strlen(mark)) != 0;
        if (found == unwanted) {
            is_wrong(c, unwanted ? "what must not be there" : "something is missing");
            return;
        }
    }
    kind->right++;
    right++;
    if (c->closes || !chance(50)) {
        close(c->fd);
        c->fd = -1;
    }
    over(c);
}

static void send_more(struct client *c) {
    while (c->sent < c->goal) {
        ssize_t count = send(c->fd, c->out + c->sent, c->goal - c->sent, MSG_NOSIGNAL);
        if (count < 0 && errno == EAGAIN) {
            if (!c->writing) watch(c, EPOLL_CTL_MOD, 1);
            return;
        }
        if (count < 0) return; // the answer, or the end, is there to be read
        c->sent += count;
    }
    if (c->writing) watch(c, EPOLL_CTL_MOD, 0);
    if (c->kind->leaves != STAYS && c->kind->leaves != AFTER_EVENT && !c->leaves_at) {
        c->leaves_at = now() + c->kind->leaves_after;
        if (!c->kind->leaves_after) leave(c);
    }
}

static void begin(struct client *c) {
    if (begun >= wanted) {
        if (c->fd >= 0) close(c->fd);
        c->fd = -1;
        return;
    }
    int place = chance(weights);
    struct kind *kind = kinds;
    while (place >= kind->weight) place -= kind++->weight;
    c->kind = kind;
    kind->asked++;
    sprintf(c->number, "%010ld", seed * 1000000000 + begun++);
    size_t size = 0;
    put(&c->out, &size, &c->out_room, kind->request, kind->size);
    if (kind->number_at >= 0) memcpy(c->out + kind->number_at, c->number, DIGITS);
    c->sent = c->in_size = c->head_size = c->body_size = c->read_at = 0;
    c->status = c->chunked = c->closes = c->whole = 0;
    c->body_left = -1;
    c->began = now();
    c->leaves_at = 0;
    c->goal = kind->size;
    if (kind->leaves == AFTER_HEAD) c->goal = kind->head_size;
    if (kind->leaves == AFTER_HALF) c->goal = (kind->head_size + kind->size) / 2;
    if (c->fd < 0) call(c);
    send_more(c);
}

// ---- what comes in

static int read_head(struct client *c) {
    char *end = memmem(c->in, c->in_size, "\r\n\r\n", 4);
    if (!end) return 0;
    c->head_size = c->read_at = end - c->in + 4;
    end[2] = 0; // the blank line is not needed any more, and what is before it is a string
    c->status = atoi(c->in + 9);
    char *told = strcasestr(c->in, "\r\ncontent-length:");
    if (told) c->body_left = atol(told + 17);
    c->chunked = strcasestr(c->in, "\r\ntransfer-encoding: chunked") != 0;
    c->closes = strcasestr(c->in, "\r\nconnection: close") != 0;
    return 1;
}

static void keep(struct client *c, size_t count) {
    put(&c->body, &c->body_size, &c->body_room, c->in + c->read_at, count);
    c->read_at += count;
}

static int read_body(struct client *c) { // gives whether it is whole
    if (!c->chunked) {
        size_t here = c->in_size - c->read_at;
        if (c->body_left >= 0 && here > (size_t)c->body_left) here = c->body_left;
        keep(c, here);
        if (c->body_left < 0) return 0;
        c->body_left -= here;
        return !c->body_left;
    }
    for (;;) {
        char *line = c->in + c->read_at, *end = memmem(line, c->in_size - c->read_at, "\r\n", 2);
        if (!end) return 0;
        size_t size = strtoul(line, 0, 16), head = end + 2 - line;
        if (c->in_size - c->read_at < head + size + 2) return 0;
        c->read_at += head;
        keep(c, size);
        c->read_at += 2;
        if (!size) return 1;
    }
}

static void receive(struct client *c) {
    static char data[65536];
    ssize_t count = recv(c->fd, data, sizeof data, 0);
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) {
        if (!count && c->head_size && !c->chunked && c->body_left < 0) answered(c);
        else is_wrong(c, count ? "the connection was reset" : "the connection ended");
        return;
    }
    put(&c->in, &c->in_size, &c->in_room, data, count);
    put(&c->in, &(size_t){c->in_size}, &c->in_room, "", 1); // strings end
    if (!c->head_size && !read_head(c)) return;
    if (read_body(c)) answered(c);
    else if (c->kind->leaves == AFTER_EVENT && c->body_size) leave(c);
}

static void look_after(struct client *clients, int count) {
    double time = now();
    for (int i = 0; i < count; i++) {
        struct client *c = &clients[i];
        if (c->fd < 0) continue;
        if (c->leaves_at && c->leaves_at <= time) leave(c);
        else if (time - c->began > STUCK_SECONDS) is_wrong(c, "no end came");
    }
}

static void tell(int whole) {
    printf("{\"done\":%ld,\"right\":%ld,\"wrong\":%ld,\"left\":%ld,\"connections\":%ld,\"nameless\":%ld", done, right,
           wrong, left_count, connections, nameless);
    for (int i = 0; whole && i < kind_count; i++)
        printf("%s\"%s\":{\"asked\":%ld,\"right\":%ld,\"wrong\":%ld,\"left\":%ld,\"left_early\":%ld}",
               i ? "," : ",\"kinds\":{", kinds[i].name, kinds[i].asked, kinds[i].right, kinds[i].wrong, kinds[i].left,
               kinds[i].left_early);
    puts(whole ? "}}" : "}");
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc != 8) return fprintf(stderr, "crowd PORT CLIENTS COUNT SEED HEADERS PLAN IDS\n"), 2;
    struct rlimit files = {65535, 65535};
    setrlimit(RLIMIT_NOFILE, &files);
    int count = atoi(argv[2]);
    port = atoi(argv[1]), wanted = atol(argv[3]), seed = atol(argv[4]), state = 88172645463325252ULL + seed;
    read_plan(argv[5], argv[6]);
    if (!(ids = fopen(argv[7], "w"))) die(argv[7]);
    poller = epoll_create1(0);
    struct client *clients = calloc(count, sizeof *clients);
    for (int i = 0; i < count; i++) clients[i].fd = -1;
    for (int i = 0; i < count; i++) begin(&clients[i]);
    double told = now(), looked = told;
    while (done < wanted) {
        struct epoll_event events[512];
        int ready = epoll_wait(poller, events, 512, 5);
        for (int i = 0; i < ready; i++) {
            struct client *c = events[i].data.ptr;
            if (c->fd >= 0 && events[i].events & EPOLLOUT) send_more(c);
            if (c->fd >= 0 && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(c);
        }
        double time = now();
        if (time - looked >= 0.005) look_after(clients, count), looked = time;
        if (time - told >= 0.5) tell(0), told = time;
    }
    fclose(ids);
    tell(1);
    return 0;
}
