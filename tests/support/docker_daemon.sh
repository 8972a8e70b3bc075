#!/bin/sh
# A private Docker daemon for tests, and in it the image that they use. As root, on Debian, after
# `apt-get install -y docker.io debootstrap`. Nothing outside FOLDER is touched.
#
#   docker_daemon.sh start FOLDER    starts it; then DOCKER_HOST=unix://FOLDER/docker.sock
#   docker_daemon.sh stop FOLDER     ends it
set -eu
action=$1
folder=$(mkdir -p "$2" && cd "$2" && pwd)
host="unix://$folder/docker.sock"

case $action in
start)
    dockerd --data-root "$folder/data" --exec-root "$folder/exec" --pidfile "$folder/pid" -H "$host" \
        --bridge=none --iptables=false --ip6tables=false >"$folder/log" 2>&1 &
    for _ in $(seq 400); do
        docker -H "$host" info >/dev/null 2>&1 && break
        sleep 0.3
    done
    docker -H "$host" info >/dev/null 2>&1 || { tail -20 "$folder/log" >&2; exit 1; }
    if ! docker -H "$host" image inspect llmgym-sandbox >/dev/null 2>&1; then
        if [ ! -e "$folder/root.tar" ]; then
            sources=/etc/apt/sources.list.d/debian.sources
            mirror=$(awk '/^URIs:/ { print $2; exit }' "$sources")
            debootstrap --variant=minbase --include=python3,tcc,libc6-dev bookworm "$folder/root" "$mirror" >"$folder/debootstrap.log"
            tar -C "$folder/root" -cf "$folder/root.tar" .
            rm -rf "$folder/root"
        fi
        docker -H "$host" import "$folder/root.tar" llmgym-sandbox >/dev/null
    fi
    echo "$host"
    ;;
stop)
    pid=$(cat "$folder/pid" 2>/dev/null) || exit 0
    kill "$pid"
    for _ in $(seq 600); do
        kill -0 "$pid" 2>/dev/null || exit 0
        sleep 0.1
    done
    kill -9 "$pid"
    ;;
*)
    echo "usage: $0 start|stop FOLDER" >&2
    exit 2
    ;;
esac
