/* One ICE agent of libnice in its Office Communicator 2007 R2 mode, with the relay as the only way: an independent
 * client of MS-TURN for tests/live/test_nice.py.
 *
 *   agent udp|tcp|tls controlling|controlled LOCAL_IP RELAY_IP RELAY_PORT USER_BASE64 PASSWORD_BASE64 MESSAGES
 *
 * Standard output: "sdp BASE64", "state NAME", "pair LOCAL REMOTE", at the end "result MESSAGES BYTES GOOD". Standard
 * input: the other agent's description in base64. Each message carries its number and bytes that follow from it; GOOD
 * counts the ones that came as they were sent.
 */
#include <nice/agent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGE_MIN = 16, MESSAGE_MAX = 1200, QUIET_S = 5 };

static NiceAgent *agent;
static GMainLoop *loop;
static guint stream, to_send, sent, received, good, expected_next, quiet_s;
static guint64 bytes;
static gboolean is_stream, is_ready;

/* Message `n`: its number, then bytes that are different in each. */
static guint fill(guint n, guint8 *out)
{
    guint size = MESSAGE_MIN + n * 37 % (MESSAGE_MAX - MESSAGE_MIN);
    memcpy(out, &n, sizeof n);
    for (guint i = sizeof n; i < size; i++)
        out[i] = (guint8)(n * 7 + i * 13);
    return size;
}

static void say(const char *what, const char *text)
{
    printf("%s %s\n", what, text);
    fflush(stdout);
}

static gboolean send_some(gpointer unused)
{
    guint8 message[MESSAGE_MAX];
    for (int burst = 0; is_ready && sent < to_send && burst < (is_stream ? 64 : 4); burst++) {
        guint size = fill(sent, message);
        if (nice_agent_send(agent, stream, 1, size, (const char *)message) != (gint)size)
            break; /* again in the next millisecond */
        sent++;
    }
    return TRUE;
}

static gboolean finish(gpointer unused)
{
    if (received < to_send && quiet_s++ < QUIET_S)
        return TRUE;
    if (sent < to_send && quiet_s < 12 * QUIET_S)
        return TRUE;
    printf("result %u %" G_GUINT64_FORMAT " %u\n", received, bytes, good);
    fflush(stdout);
    return FALSE;
}

static void on_data(NiceAgent *a, guint s, guint component, guint size, gchar *data, gpointer unused)
{
    guint8 want[MESSAGE_MAX];
    guint n;
    static const guint8 cookie[4] = {0x21, 0x12, 0xa4, 0x42};
    quiet_s = 0;
    if (size >= 20 && memcmp(data + 4, cookie, sizeof cookie) == 0)
        return; /* a connectivity check that libnice hands on instead of answering it, now and then, at the start */
    received++;
    bytes += size;
    memset(&n, 0xff, sizeof n);
    memcpy(&n, data, size < sizeof n ? size : sizeof n);
    if (n < to_send && fill(n, want) == size && memcmp(want, data, size) == 0 && (!is_stream || n == expected_next))
        good++;
    else if (is_stream)
        printf("bad %u octets, %u expected, number %u\n", size, expected_next, n);
    expected_next = n + 1;
}

static void on_state(NiceAgent *a, guint s, guint component, guint state, gpointer unused)
{
    NiceCandidate *local, *remote;
    char text[256], address[NICE_ADDRESS_STRING_LEN];
    say("state", nice_component_state_to_string(state));
    if (state != NICE_COMPONENT_STATE_READY || is_ready ||
        !nice_agent_get_selected_pair(a, s, component, &local, &remote))
        return;
    nice_address_to_string(&remote->addr, address);
    snprintf(text, sizeof text, "%d %d %s", local->type, remote->type, address);
    say("pair", text);
    is_ready = TRUE;
    g_timeout_add_seconds(1, finish, NULL);
}

static void on_gathered(NiceAgent *a, guint s, gpointer unused)
{
    gchar *sdp = nice_agent_generate_local_sdp(a);
    gchar *line = g_base64_encode((const guchar *)sdp, strlen(sdp));
    say("sdp", line);
    g_free(line);
    g_free(sdp);
}

static gboolean on_line(GIOChannel *in, GIOCondition condition, gpointer unused)
{
    gchar *line = NULL;
    gsize size;
    if (g_io_channel_read_line(in, &line, NULL, NULL, NULL) != G_IO_STATUS_NORMAL) {
        g_main_loop_quit(loop);
        return FALSE;
    }
    gchar *sdp = (gchar *)g_base64_decode(g_strstrip(line), &size);
    gchar *text = g_strndup(sdp, size);
    if (nice_agent_parse_remote_sdp(agent, text) <= 0)
        say("state", "no-candidates");
    g_free(text);
    g_free(sdp);
    g_free(line);
    return TRUE;
}

static void set_up(char **argv)
{
    is_stream = strcmp(argv[1], "udp") != 0;
    NiceRelayType type = strcmp(argv[1], "tls") == 0   ? NICE_RELAY_TYPE_TURN_TLS
                         : strcmp(argv[1], "tcp") == 0 ? NICE_RELAY_TYPE_TURN_TCP
                                                       : NICE_RELAY_TYPE_TURN_UDP;
    NiceAddress local;
    nice_address_init(&local);
    agent = nice_agent_new_full(g_main_loop_get_context(loop), NICE_COMPATIBILITY_OC2007R2,
                                is_stream ? NICE_AGENT_OPTION_RELIABLE : NICE_AGENT_OPTION_NONE);
    g_object_set(agent, "controlling-mode", strcmp(argv[2], "controlling") == 0, "force-relay", TRUE, "upnp", FALSE,
                 "ice-tcp", is_stream, "ice-udp", !is_stream, NULL);
    if (!nice_address_set_from_string(&local, argv[3]))
        exit(2);
    nice_agent_add_local_address(agent, &local);
    stream = nice_agent_add_stream(agent, 1);
    nice_agent_set_stream_name(agent, stream, "application");
    nice_agent_set_relay_info(agent, stream, 1, argv[4], (guint)atoi(argv[5]), argv[6], argv[7], type);
    to_send = (guint)atoi(argv[8]);
}

int main(int argc, char **argv)
{
    if (argc != 9)
        return 2;
    loop = g_main_loop_new(NULL, FALSE);
    set_up(argv);
    g_signal_connect(agent, "candidate-gathering-done", G_CALLBACK(on_gathered), NULL);
    g_signal_connect(agent, "component-state-changed", G_CALLBACK(on_state), NULL);
    nice_agent_attach_recv(agent, stream, 1, g_main_loop_get_context(loop), on_data, NULL);
    g_io_add_watch(g_io_channel_unix_new(0), G_IO_IN | G_IO_HUP, on_line, NULL);
    g_timeout_add(1, send_some, NULL);
    if (!nice_agent_gather_candidates(agent, stream))
        return 3;
    g_main_loop_run(loop);
    return 0;
}
