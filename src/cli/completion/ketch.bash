_clap_complete_NAME() {
    # Bash ends words at ":" and "=" as well; here they are parts of them.
    local line=${COMP_LINE:0:COMP_POINT} words=() word blanks i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        blanks=${line%%[![:space:]]*}
        line=${line#"$blanks"}
        word=$line
        if ((i < COMP_CWORD)); then
            word=${COMP_WORDS[i]}
            line=${line#"$word"}
        fi
        if [[ -n $blanks || $i -eq 0 ]]; then
            words+=("$word")
        else
            words[${#words[@]}-1]+=$word
        fi
    done
    local current=${words[${#words[@]}-1]} quote=
    if [[ ${current:0:1} == [\"\'] ]]; then
        quote=${current:0:1} current=${current:1}
        words[${#words[@]}-1]=$current
    fi
    # What stands before the part that bash replaces.
    local known=${current%"$2"}
    local IFS=$'\013'
    COMPREPLY=($( \
        _CLAP_IFS="$IFS" \
        _CLAP_COMPLETE_INDEX="$((${#words[@]} - 1))" \
        _CLAP_COMPLETE_COMP_TYPE="$COMP_TYPE" \
        _CLAP_COMPLETE_SPACE="true" \
        VARIABLE="bash" \
        NAME -- "${words[@]}" \
    )) || { COMPREPLY=(); return; }
    if [[ ${#COMPREPLY[@]} -ne 1 || ! ${COMPREPLY[0]} =~ [=/:,]$ ]]; then
        compopt +o nospace 2> /dev/null
    fi
    COMPREPLY=("${COMPREPLY[@]#"$known"}")
    for i in "${!COMPREPLY[@]}"; do
        # Names of files may hold anything.
        if [[ -z $quote && ${COMPREPLY[i]} == *[[:space:]\$\`\"\'\\\;\&\|\<\>\(\)\*\?\[]* ]]; then
            printf -v 'COMPREPLY[i]' %q "${COMPREPLY[i]}"
        fi
    done
}
if [[ "${BASH_VERSINFO[0]}" -eq 4 && "${BASH_VERSINFO[1]}" -ge 4 || "${BASH_VERSINFO[0]}" -gt 4 ]]; then
    complete -o nospace -o bashdefault -o nosort -F _clap_complete_NAME NAME
else
    complete -o nospace -o bashdefault -F _clap_complete_NAME NAME
fi
