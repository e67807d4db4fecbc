"""A deterministic simulation of the whole wallet, and an auditor that predicts what it does.

The real writer, reader and proxy code (all but the HTTP edge) runs on an event loop in virtual
time, against a JetStream in memory whose network loses, doubles, delays and reorders what is
pushed. Processes crash and are paused, split off and deposed; the broker crashes and its clock
jumps. Everything is drawn from one seed: the same seed gives the same journals, byte for byte.

    loop        virtual time; a hang is an error
    weather     delays and losses of one run        trouble     faults of one run
    processes   writers, readers, proxies           world       server, processes, supervision
    workload    what is asked for                   clients     who ask until they know
    auditor, books, lifecycles, coordinating        the naive model: predicts every event
    answers     what clients must be told           questions   what readers must answer
    finish      the last checks                     states      replay equals live
    cases       hard cases that must be reached     report      what a series reached
    run         one seed                            __main__    many seeds

The auditor sees what every stream stores, at the moment it is durable and before anybody else. It
knows the contracts and the description of the four ways, nothing of the writer's code. A check
that fails ends the run with the seed and the story around it.

Writers of a run lead all parties in one process, as the wallet runs them, or are spread over
several, so that steps travel through the weather too.
"""
