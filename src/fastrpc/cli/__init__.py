"""The command line, `fastrpc COMMAND`; `application` has the table of commands.

    serving/    `fastrpc run` and `fastrpc dev`: options, plan, reports
    calling/    `fastrpc call`: arguments, kinds of methods, standard streams; `http` calls by HTTP
    contracts/  `fastrpc contract`: reads, writes and compares contracts
    gateway/    `fastrpc gateway`: the services of a registry by HTTP
    console/    `fastrpc console`: the servers of a registry as views
    benchmark/  `fastrpc bench`
    stores/     `fastrpc store`, `fastrpc kv`
    brokers/    `fastrpc broker`, and the commands for topics, messages and dead letters
    registering, listing, registry_listing, checking, copying, policies, certificates, locking    the other commands
    hosted      what `fastrpc registry`, `fastrpc store` and `fastrpc broker` share
    dial_options, listening   the options of commands that dial or listen
    settings, setting_places  the settings of `fastrpc run`, and the key or variable to correct
    printing, output          results and messages;  log_output, json_lines, telemetry: logs and spans
    main                      the entry point

Only this package prints, and loads typer and rich. It may import every package of a lower rank.
"""
