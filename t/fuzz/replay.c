
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "fuzz.h"


/*
 * Stands in for libFuzzer where there is no clang: feeds each file that is
 * named on the command line to the target once.
 */

int
main(int argc, char **argv)
{
    int       i;
    long      size;
    FILE     *file;
    uint8_t  *data;

    LLVMFuzzerInitialize(&argc, &argv);

    for (i = 1; i < argc; i++) {

        file = fopen(argv[i], "rb");
        if (file == NULL) {
            perror(argv[i]);
            return 1;
        }

        fseek(file, 0, SEEK_END);
        size = ftell(file);
        rewind(file);

        data = malloc(size);
        if (data == NULL) {
            return 1;
        }

        if (fread(data, 1, size, file) != (size_t) size) {
            perror(argv[i]);
            return 1;
        }

        fclose(file);

        LLVMFuzzerTestOneInput(data, size);

        free(data);
    }

    return 0;
}
