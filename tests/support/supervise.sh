# shellcheck shell=bash
# Supervises one server of the tests: see `SUPERVISOR` in supervised.rs.
# Arguments: its folder, the size of its file system in MB (0: none of its own), its command.
folder=$1 megabytes=$2 server=
shift 2
cd "$folder" || exit 1
[ "$megabytes" = 0 ] || mount -t tmpfs -o "size=${megabytes}m" none data || exit 1
finish() { kill -KILL $server; wait; server=; } 2>/dev/null
while read -r order; do
    case $order in
    start) "$@" </dev/null >>log 2>&1 & server=$! ;;
    kill) finish ;;
    pause) kill -STOP $server ;;
    resume) kill -CONT $server ;;
    esac
    if kill -0 $server 2>/dev/null; then echo alive; else echo dead; fi
done
finish
[ "$megabytes" = 0 ] || umount data
cd / && rm -rf "$folder"
