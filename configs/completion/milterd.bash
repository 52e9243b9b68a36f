# Completion of milterd's command line in bash.
# Made from the flags by the tests of cmd/milterd (-update): not to be edited.

_milterd()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local line=" ${COMP_WORDS[*]:1:COMP_CWORD-1} " flags='' words='' kind='' arguments='' flag
	COMPREPLY=()
	compopt -o filenames 2>/dev/null
	if [[ $line == *" -check "* && $line == *" -against "* ]]; then
		flags='-access -against -check -config -format -json -session' arguments='SESSION'
		case $prev in
		-access | -against | -config) kind=FILE ;;
		-session) kind=VALUE ;;
		-format) kind=WORD words='text json' ;;
		esac
	elif [[ $line == *" -check "* && $line == *" -client "* ]]; then
		flags='-access -auth -check -client -config -explain -format -from -helo -json -port -to'
		case $prev in
		-access | -config) kind=FILE ;;
		-auth | -client | -from | -helo | -port | -to) kind=VALUE ;;
		-format) kind=WORD words='text json' ;;
		esac
	elif [[ $line == *" -check "* ]]; then
		flags='-access -against -check -client -config -explain -format -json -session -user' arguments='SESSION'
		case $prev in
		-access | -against | -config) kind=FILE ;;
		-user) kind=USER ;;
		-client | -session) kind=VALUE ;;
		-format) kind=WORD words='text json tap junit' ;;
		esac
	elif [[ $line == *" -grant "* ]]; then
		flags='-config -grant'
		case $prev in
		-config) kind=FILE ;;
		-grant) kind=VALUE ;;
		esac
	elif [[ $line == *" -revoke "* ]]; then
		flags='-config -revoke'
		case $prev in
		-config) kind=FILE ;;
		-revoke) kind=VALUE ;;
		esac
	elif [[ $line == *" -grants "* ]]; then
		flags='-config -grants'
		case $prev in
		-config) kind=FILE ;;
		esac
	elif [[ $line == *" -limits "* ]]; then
		flags='-config -limits'
		case $prev in
		-config) kind=FILE ;;
		esac
	elif [[ $line == *" -block "* ]]; then
		flags='-block -config'
		case $prev in
		-config) kind=FILE ;;
		-block) kind=VALUE ;;
		esac
	elif [[ $line == *" -release "* ]]; then
		flags='-config -release'
		case $prev in
		-config) kind=FILE ;;
		-release) kind=VALUE ;;
		esac
	elif [[ $line == *" -doctor "* ]]; then
		flags='-cf -config -doctor -json -offline'
		case $prev in
		-cf | -config) kind=FILE ;;
		esac
	elif [[ $line == *" -mc "* ]]; then
		flags='-both -cf -config -mc -system'
		case $prev in
		-cf | -config) kind=FILE ;;
		-system) kind=WORD words='debian freebsd rhel' ;;
		esac
	elif [[ $line == *" -import "* ]]; then
		flags='-cf -config -import'
		case $prev in
		-cf | -config) kind=FILE ;;
		esac
	elif [[ $line == *" -probe "* ]]; then
		flags='-any-certificate -config -domain -explain -from -i-own-this-server -json -judge -password-file -probe -send -to -user' arguments='HOST[:PORT]'
		case $prev in
		-config | -judge | -password-file) kind=FILE ;;
		-domain | -from | -send | -to | -user) kind=VALUE ;;
		esac
	elif [[ $line == *" -health "* ]]; then
		flags='-config -health'
		case $prev in
		-config) kind=FILE ;;
		esac
	elif [[ $line == *" -report "* ]]; then
		flags='-config -json -report' arguments='SESSION'
		case $prev in
		-config) kind=FILE ;;
		esac
	elif [[ $line == *" -version "* ]]; then
		flags='-config -version'
		case $prev in
		-config) kind=FILE ;;
		esac
	else
		flags='-block -check -config -doctor -grant -grants -health -import -limits -mc -probe -release -report -revoke -version -h'
		case $prev in
		-config) kind=FILE ;;
		-block | -grant | -release | -revoke) kind=VALUE ;;
		esac
	fi
	case ${kind:-$arguments} in
	FILE | SESSION) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
	HOST*) mapfile -t COMPREPLY < <(compgen -A hostname -- "$cur") ;;
	USER) mapfile -t COMPREPLY < <(compgen -u -- "$cur") ;;
	WORD) mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur") ;;
	esac
	[[ $kind || $arguments && $cur != -* ]] && return
	for flag in $flags; do
		[[ $flag == "$cur"* && $line != *" $flag "* ]] && COMPREPLY+=("$flag")
	done
	return 0
}
complete -F _milterd milterd
