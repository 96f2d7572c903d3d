
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _FUZZ_H_INCLUDED_
#define _FUZZ_H_INCLUDED_


#include "shim.h"


/* the entry points of libFuzzer */

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


/* a broken promise ends the program, as a sanitizer would */

#define fuzz_check(cond)                                                      \
    if (!(cond)) {                                                            \
        fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #cond);    \
        abort();                                                              \
    }


#endif /* _FUZZ_H_INCLUDED_ */
