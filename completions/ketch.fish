complete --keep-order --exclusive --command ketch --arguments "(_KETCH_COMPLETE=fish ketch -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
