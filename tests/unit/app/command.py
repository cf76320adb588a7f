#!/usr/bin/env python3
"""The command line as a whole: help, versions, mistakes and exit statuses, and secrets that `ps` must not show.

    tests/unit/app/command.py CAUSEWAY"""
import os
import pathlib
import select
import socket
import subprocess
import sys
import tempfile

CAUSEWAY = sys.argv[1]
PATIENCE_S = 60


def run(*words):
    r = subprocess.run([CAUSEWAY, *words], capture_output=True, text=True, timeout=PATIENCE_S, stdin=subprocess.DEVNULL)
    return r.returncode, r.stdout, r.stderr


def expect(words, status, out="", err=""):
    got = run(*words)
    assert got[0] == status, (words, got)
    assert out in got[1] and err in got[2], (words, got)
    assert (got[1] == "") == (out == ""), (words, got)


def check_help():
    expect([], 2, err="usage: causeway COMMAND")
    for words in (["help"], ["--help"], ["-h"], ["help", "help"]):
        expect(words, 0, out="usage: causeway COMMAND")
    expect(["--version"], 0, out="causeway ")
    for command in ("serve", "doctor", "user", "conf"):
        long, by_name = run(command, "--help"), run("help", command)
        assert long == by_name and long[0] == 0 and long[2] == "", command
        for word in ("sage: causeway " + command, "xit ", "xample" if command != "serve" else "causeway serve -c"):
            assert word in long[1], (command, word)
        assert f"\n  {command} " in run("help")[1], command


def check_mistakes():
    expect(["sreve"], 2, err="no such command: sreve; did you mean serve?")
    expect(["help", "cnf"], 2, err="did you mean conf?")
    expect(["\x1b[2J"], 2, err="no such command: \\x1b[2J\n")
    expect(["serve", "--lisen", ":1"], 2, err="--lisen: no such flag; did you mean --listen?")
    expect(["serve", "-c", "/nonexistent"], 2, err="/nonexistent: cannot be read: No such file or directory")
    expect(["conf", "--relay-ports", "9-8"], 2, err="--relay-ports \"9-8\": the range is reversed")
    expect(["user", "add", "alice", "sesame"], 2, err="A password in a command line")
    expect(["conf", "--user", "alice:sesame"], 0, out="user = \"alice:***\"")
    expect(["conf", "--user=alice:sesame", "--show-secrets"], 0, out="user = \"alice:sesame\"")
    expect(["conf", "--json", "--workers=3"], 0, out="\"workers\":3")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def read_until_ready(process):
    said = ""
    while "ready\n" not in said:
        assert select.select([process.stdout], [], [], PATIENCE_S)[0], said
        got = os.read(process.stdout.fileno(), 4096).decode()
        assert got, said
        said += got


def check_that_secrets_are_hidden(folder):
    process = subprocess.Popen(
        [CAUSEWAY, "serve", "--listen", f"127.0.0.1:{free_port()}", "--state", f"{folder}/state", "--no-self-test",
         "--user", "alice:hunter2", "--user=bob:hunter2", "--secret", "hunter2hunter2hunter2"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        read_until_ready(process)
        line = pathlib.Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert b"--secret\0***" in line and b"--user=***" in line and b"hunter2" not in line, line
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        finally:
            process.kill()
            process.stdout.close()


check_help()
check_mistakes()
with tempfile.TemporaryDirectory() as folder:
    os.chmod(folder, 0o755)
    check_that_secrets_are_hidden(folder)
print("command line: ok")
