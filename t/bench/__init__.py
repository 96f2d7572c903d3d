"""What the module costs, against what nginx's own proxy costs.

    ./build.sh bench            the table of docs/performance.md
    ./build.sh bench --quick    does it run at all

Only ratios mean something: origin, proxy and load generator share a machine.
"""
