/*
 * The demo's eyes and hands on X displays: paint a picture, make it live, watch another screen, compare two, take a
 * shot. Pictures are binary PPM. Displays are 24 bits deep, little endian, as Xvfb gives them.
 */
#include <X11/Xlib.h>
#include <X11/Xutil.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BITS = 12, CELL = 12, RATE = 15 }; /* the counter that `live` shows: bits, pixels for each, frames a second */

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void sleep_until_s(double when)
{
    double left = when - now_s();
    if (left <= 0)
        return;
    struct timespec t = {(time_t)left, (long)((left - (double)(time_t)left) * 1e9)};
    nanosleep(&t, NULL);
}

static _Noreturn void die(const char *what, const char *which)
{
    fprintf(stderr, "screen: %s %s\n", what, which);
    exit(2);
}

static Display *display_open(const char *name)
{
    Display *d = XOpenDisplay(name);
    if (!d)
        die("cannot open display", name);
    return d;
}

/* The caller destroys the image. */
static XImage *screen_grab(Display *d)
{
    Window root = DefaultRootWindow(d);
    XImage *image =
        XGetImage(d, root, 0, 0, (unsigned)DisplayWidth(d, 0), (unsigned)DisplayHeight(d, 0), AllPlanes, ZPixmap);
    if (!image || image->bits_per_pixel != 32)
        die("cannot read a 24 bit picture from", DisplayString(d));
    return image;
}

static const uint32_t *image_row(const XImage *image, int y)
{
    return (const uint32_t *)(const void *)(image->data + (size_t)y * (size_t)image->bytes_per_line);
}

static long image_differing(const XImage *a, const XImage *b)
{
    if (a->width != b->width || a->height != b->height)
        return (long)a->width * a->height;
    long differing = 0;
    for (int y = 0; y < a->height; y++) {
        const uint32_t *p = image_row(a, y), *q = image_row(b, y);
        for (int x = 0; x < a->width; x++)
            differing += ((p[x] ^ q[x]) & 0xffffff) != 0;
    }
    return differing;
}

static long screens_differing(Display *a, Display *b)
{
    XImage *pa = screen_grab(a), *pb = screen_grab(b);
    long differing = image_differing(pa, pb);
    XDestroyImage(pa);
    XDestroyImage(pb);
    return differing;
}

static void paint(Display *d, const char *path)
{
    int w, h, max;
    FILE *f = fopen(path, "rb");
    if (!f || fscanf(f, "P6 %d %d %d", &w, &h, &max) != 3 || max != 255 || fgetc(f) == EOF)
        die("no 8 bit PPM picture in", path);
    uint32_t *pixels = calloc((size_t)w * (size_t)h, sizeof *pixels);
    uint8_t rgb[3];
    for (size_t i = 0; pixels && i < (size_t)w * (size_t)h && fread(rgb, 3, 1, f) == 1; i++)
        pixels[i] = (uint32_t)rgb[0] << 16 | (uint32_t)rgb[1] << 8 | rgb[2];
    fclose(f);

    Window root = DefaultRootWindow(d);
    unsigned depth = (unsigned)DefaultDepth(d, 0);
    Pixmap map = XCreatePixmap(d, root, (unsigned)w, (unsigned)h, depth);
    XImage *image =
        XCreateImage(d, DefaultVisual(d, 0), depth, ZPixmap, 0, (char *)pixels, (unsigned)w, (unsigned)h, 32, 0);
    GC gc = XCreateGC(d, map, 0, NULL);
    XPutImage(d, map, gc, image, 0, 0, 0, 0, (unsigned)w, (unsigned)h);
    XSetWindowBackgroundPixmap(d, root, map);
    XClearWindow(d, root);
    XSync(d, False);
    XDestroyImage(image);
}

static void shot(Display *d, const char *path)
{
    XImage *image = screen_grab(d);
    FILE *f = fopen(path, "wb");
    if (!f)
        die("cannot write", path);
    fprintf(f, "P6\n%d %d\n255\n", image->width, image->height);
    for (int y = 0; y < image->height; y++) {
        const uint32_t *row = image_row(image, y);
        for (int x = 0; x < image->width; x++) {
            uint8_t rgb[3] = {(uint8_t)(row[x] >> 16), (uint8_t)(row[x] >> 8), (uint8_t)row[x]};
            fwrite(rgb, 3, 1, f);
        }
    }
    if (fclose(f))
        die("cannot write", path);
    XDestroyImage(image);
}

/* Waits until both screens show the same; prints the seconds it took and the pixels that still differ. */
static bool match(Display *a, Display *b, double timeout_s)
{
    double start = now_s();
    long differing;
    while ((differing = screens_differing(a, b)) != 0 && now_s() - start < timeout_s)
        sleep_until_s(now_s() + 0.03);
    printf("%.2f %ld\n", now_s() - start, differing);
    return differing == 0;
}

static void counter_draw(Display *d, Window w, GC gc, int count)
{
    for (int k = 0; k < BITS; k++) {
        XSetForeground(d, gc, (count >> k & 1) ? 0xffffff : 0x202020);
        XFillRectangle(d, w, gc, k * CELL, 0, CELL, CELL);
    }
}

static int counter_read(Display *d)
{
    XImage *image = XGetImage(d, DefaultRootWindow(d), 0, 0, BITS * CELL, CELL, AllPlanes, ZPixmap);
    if (!image)
        die("cannot read from", DisplayString(d));
    int count = 0;
    for (int k = 0; k < BITS; k++)
        count |= ((image_row(image, CELL / 2)[k * CELL + CELL / 2] & 0xff) > 0x80) << k;
    XDestroyImage(image);
    return count;
}

static Window window_open(Display *d, int x, int y, int w, int h, unsigned long colour)
{
    XSetWindowAttributes attributes = {.override_redirect = True, .background_pixel = colour};
    Window window = XCreateWindow(d, DefaultRootWindow(d), x, y, (unsigned)w, (unsigned)h, 0, CopyFromParent,
                                  InputOutput, CopyFromParent, CWOverrideRedirect | CWBackPixel, &attributes);
    XMapWindow(d, window);
    return window;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Drags a window over `from` and counts in the corner; meanwhile reads the count on `to`. Prints counts shown, counts
 * seen, and the median delay in milliseconds; true if most were seen. */
static bool live(Display *from, Display *to, int seconds)
{
    int shown = seconds * RATE < (1 << BITS) ? seconds * RATE : (1 << BITS) - 1, seen = 0, last = 0;
    double *at = calloc((size_t)shown + 1, sizeof *at), *delay = calloc((size_t)shown + 1, sizeof *delay);
    if (!at || !delay)
        die("out of memory for", "live");
    Window corner = window_open(from, 0, 0, BITS * CELL, CELL, 0x202020);
    Window moving = window_open(from, 0, 0, 160, 100, 0xf5a623);
    GC gc = XCreateGC(from, corner, 0, NULL);
    double start = now_s();
    for (int n = 1; n <= shown; n++) {
        XMoveWindow(from, moving, n * 7 % (DisplayWidth(from, 0) - 160), 40 + n * 3 % (DisplayHeight(from, 0) - 140));
        counter_draw(from, corner, gc, n);
        XSync(from, False);
        at[n] = now_s();
        /* after the last count the viewer has time to catch up */
        double until = n < shown ? start + (double)n / RATE : now_s() + 30;
        while (now_s() < until && last < shown) {
            int count = counter_read(to);
            if (count > last && count <= n)
                delay[seen++] = now_s() - at[last = count];
            sleep_until_s(now_s() + 0.004);
        }
    }
    XDestroyWindow(from, corner);
    XDestroyWindow(from, moving);
    XSync(from, False);
    qsort(delay, (size_t)seen, sizeof *delay, by_value);
    printf("%d %d %.0f\n", shown, seen, seen ? delay[seen / 2] * 1000 : -1.0);
    free(at);
    free(delay);
    return seen > 0 && last == shown;
}

int main(int argc, char **argv)
{
    const char *verb = argc > 3 ? argv[1] : "";
    if (!strcmp(verb, "paint"))
        paint(display_open(argv[2]), argv[3]);
    else if (!strcmp(verb, "shot"))
        shot(display_open(argv[2]), argv[3]);
    else if (!strcmp(verb, "match") && argc == 5)
        return !match(display_open(argv[2]), display_open(argv[3]), atof(argv[4]));
    else if (!strcmp(verb, "live") && argc == 5)
        return !live(display_open(argv[2]), display_open(argv[3]), atoi(argv[4]));
    else
        die("usage: screen paint|shot DISPLAY FILE, screen match|live DISPLAY DISPLAY", "SECONDS");
    return 0;
}
