/** The scripts with which shells complete a command line. */
import type { CompletedCommand, CompletedFlag, CompletedValue } from "./completion.ts";

/** For bash 3.2, which macOS has, and newer. */
export function bashScript(commands: readonly CompletedCommand[]): string {
  return `# Completion of hostd's commands and flags for bash. Made by "hostd completion bash".
_hostd() {
    local command=hostd flag= prefix= words= word i given
    local IFS=$' \\t\\n'
    # By spaces alone: bash splits at : and = too, which ports and URLs have.
    read -r -a given <<<"\${COMP_LINE:0:COMP_POINT}"
    case \${COMP_LINE:0:COMP_POINT} in
        *[[:space:]]) given+=('') ;;
    esac
    local last=$((\${#given[@]} - 1))
    local current=\${given[last]}
    COMPREPLY=()
    for ((i = 1; i < last; i++)); do
        word=\${given[i]}
        if [[ -n $flag ]]; then
            flag=
            continue
        fi
        case "$command $word" in
            ${either(flagsWithValue(commands))}) flag=$word ;;
            ${either(subcommandsOf(commands))}) command="$command $word" ;;
        esac
    done
    if [[ -z $flag && $current == --*=* ]]; then
        flag=\${current%%=*}
        current=\${current#*=}
        # Where bash does not split at =, the flag is part of the word that is replaced.
        [[ $COMP_WORDBREAKS == *=* ]] || prefix="$flag="
    fi
    if [[ -n $flag ]]; then
        case "$command $flag" in
${indented(12, bashValues(commands))}
            *) return ;;
        esac
    elif [[ $current == -* ]]; then
        case $command in
${indented(
  12,
  commands.map(
    ({ fullName, flags }) => `${quoted(fullName)}) words=${quoted(flags.map(({ names }) => names[0]).join(" "))} ;;`,
  ),
)}
        esac
    else
        case $command in
${indented(12, commands.flatMap(bashOperands))}
        esac
    fi
    case $words in
        FILE) compopt -o default 2>/dev/null || IFS=$'\\n' COMPREPLY=($(compgen -f -- "$current")) ;;
        FOLDER) compopt -o dirnames 2>/dev/null || IFS=$'\\n' COMPREPLY=($(compgen -d -- "$current")) ;;
        *) COMPREPLY=($(compgen -P "$prefix" -W "$words" -- "$current")) ;;
    esac
}
complete -F _hostd hostd`;
}

/** The values of flags: a case for each kind, and for each choice of words. */
function bashValues(commands: readonly CompletedCommand[]): string[] {
  const byValue = Map.groupBy(
    commands.flatMap(({ fullName, flags }) =>
      flags.flatMap(({ names, value }) => {
        const words = value === undefined ? undefined : bashWords(value);
        return words === undefined ? [] : names.map((name) => ({ words, flag: `${fullName} ${name}` }));
      }),
    ),
    ({ words }) => words,
  );
  return [...byValue].map(([words, flags]) => `${either(flags.map(({ flag }) => flag))}) words=${quoted(words)} ;;`);
}

function bashOperands({ fullName, commands, operand }: CompletedCommand): string[] {
  const names = commands.map(({ name }) => name);
  const words = names.length > 0 || operand === undefined ? names.join(" ") : bashWords(operand);
  return words === undefined || words === "" ? [] : [`${quoted(fullName)}) words=${quoted(words)} ;;`];
}

function bashWords(value: CompletedValue): string | undefined {
  if (value.kind === "words") return value.words.join(" ");
  return value.kind === "any" ? undefined : value.kind.toUpperCase();
}

export function zshScript(commands: readonly CompletedCommand[]): string {
  return `#compdef hostd
# Completion of hostd's commands and flags for zsh. Made by "hostd completion zsh".
${commands.map(zshFunction).join("\n")}
# Sourced, it is for this shell; in a folder of $fpath, it is the function itself.
if [[ $funcstack[1] == _hostd ]]; then
    _hostd "$@"
else
    compdef _hostd hostd
fi`;
}

function zshFunction({ fullName, flags, commands, operand }: CompletedCommand): string {
  const specs = flags.flatMap(({ names, description, value }) => {
    const text = `[${description.replaceAll(/[[\]\\:]/g, "\\$&")}]`;
    return names.map((name) => {
      const takes = value === undefined ? "" : `:value:${zshAction(value)}`;
      // An = after a long flag may stand between it and its value.
      const form = value !== undefined && name.startsWith("--") ? `${name}=` : name;
      return quoted(`*${form}${text}${takes}`);
    });
  });
  const name = functionName(fullName);
  if (commands.length === 0) {
    const isKnown = operand !== undefined && operand.kind !== "any";
    const rest = isKnown ? [quoted(`1:value:${zshAction(operand)}`)] : [];
    return `${name}() {
    _arguments ${[...specs, ...rest].join(" \\\n        ")}
}`;
  }
  return `${name}() {
    local curcontext=$curcontext state line
    local -a commands
    commands=(
${indented(
  8,
  commands.map((each) => quoted(`${each.name}:${each.description}`)),
)}
    )
    _arguments -C ${[...specs, quoted("1:command:->command"), quoted("*::argument:->arguments")].join(" \\\n        ")}
    case $state in
        command) _describe command commands ;;
        arguments)
            case $line[1] in
${indented(
  16,
  commands.map((each) => `${each.name}) ${functionName(`${fullName} ${each.name}`)} ;;`),
)}
            esac
            ;;
    esac
}`;
}

function zshAction(value: CompletedValue): string {
  if (value.kind === "words") return `(${value.words.join(" ")})`;
  return { file: "_files", folder: "_files -/", any: " " }[value.kind];
}

function functionName(fullName: string): string {
  return `_${fullName.replaceAll(/[ -]/g, "_")}`;
}

export function fishScript(commands: readonly CompletedCommand[]): string {
  return `# Completion of hostd's commands and flags for fish. Made by "hostd completion fish".
function __hostd_command
    set -l command hostd
    set -l skip
    set -l given (commandline -opc)
    set -e given[1]
    for word in $given
        if set -q skip[1]
            set skip
            continue
        end
        switch "$command $word"
            case ${flagsWithValue(commands).map(quoted).join(" ")}
                set skip 1
            case ${subcommandsOf(commands).map(quoted).join(" ")}
                set command "$command $word"
        end
    end
    echo $command
end
complete -c hostd -e
complete -c hostd -f
${commands.flatMap(fishCommand).join("\n")}`;
}

function fishCommand({ fullName, flags, commands, operand }: CompletedCommand): string[] {
  const start = `complete -c hostd -n ${fishQuoted(`test (__hostd_command) = "${fullName}"`)}`;
  return [
    ...commands.map(({ name, description }) => `${start} -a ${name} -d ${fishQuoted(description)}`),
    ...(operand === undefined || operand.kind === "any" ? [] : [`${start} ${fishValue(operand)}`]),
    ...flags.map(({ names, description, value }) => {
      const forms = names.map((name) => (name.startsWith("--") ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`));
      const takes = value === undefined ? [] : ["-r", fishValue(value)];
      return [start, ...forms, ...takes, "-d", fishQuoted(description)].join(" ");
    }),
  ];
}

/** -F has files offered, and -f nothing but what -a says. */
function fishValue(value: CompletedValue): string {
  if (value.kind === "words") return `-f -a ${fishQuoted(value.words.join(" "))}`;
  return { file: "-F", folder: "-f -a '(__fish_complete_directories)'", any: "-f" }[value.kind];
}

/** Each flag that takes a value, with its command: `hostd up --config`. */
function flagsWithValue(commands: readonly CompletedCommand[]): string[] {
  return commands.flatMap(({ fullName, flags }) => {
    return flagNames(flags.filter(({ value }) => value !== undefined)).map((name) => `${fullName} ${name}`);
  });
}

function subcommandsOf(commands: readonly CompletedCommand[]): string[] {
  return commands.flatMap(({ fullName, commands: below }) => below.map(({ name }) => `${fullName} ${name}`));
}

function flagNames(flags: readonly CompletedFlag[]): string[] {
  return flags.flatMap(({ names }) => names);
}

/** A pattern of bash for any of some words. */
function either(words: readonly string[]): string {
  return words.map(quoted).join(" | ");
}

/** As bash and zsh take it as it is. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function fishQuoted(text: string): string {
  return `'${text.replaceAll(/['\\]/g, "\\$&")}'`;
}

function indented(spaces: number, lines: readonly string[]): string {
  return lines.map((line) => `${" ".repeat(spaces)}${line}`).join("\n");
}
