"""The pipeline, as statements: each module is one thing that the harness does from beginning to end.

prepare          protocol -> data, labels, extractors: one value, `Benchmark`, that the others take
container_run    submission x noisy slices -> what became of its run
evaluate         run a submission, score its outputs, write its record and the board
anchors          the same for the reference rows, which the harness makes itself
folder           the same for outputs that somebody made elsewhere
check_record     recompute a record's values with the reference tools
label_report     how good a protocol's labels are
"""
