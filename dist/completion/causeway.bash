# bash completion for causeway: to /usr/share/bash-completion/completions/causeway
# The flags are asked from the program itself, so they are never stale.

_causeway_flags() {
    "$1" "$2" --help 2>&1 </dev/null | grep -oE -- '--[a-z][a-z0-9-]*' | sort -u
}

_causeway() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local verb=${COMP_WORDS[1]-} words=''
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        words='serve conf user doctor --help --version'
    else
        case $previous in
        -c | --cert | --key | --state)
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            return
            ;;
        --log) words='text json' ;;
        --listen) words='udp:// tcp:// tls:// dtls://' ;;
        user) [ "$COMP_CWORD" -ne 2 ] || words='add list remove token' ;;
        doctor) words='turn: turns: --json' ;;
        esac
        if [[ -z $words || $current == -* ]]; then words=$(_causeway_flags "${COMP_WORDS[0]}" "$verb"); fi
        if [[ $verb == conf && $current != -* ]]; then compopt -o default; fi
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    if [[ ${COMPREPLY[*]} == *: || ${COMPREPLY[*]} == *:// ]]; then compopt -o nospace; fi
}
complete -F _causeway causeway
