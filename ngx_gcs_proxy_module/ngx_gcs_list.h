
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_LIST_H_INCLUDED_
#define _NGX_GCS_LIST_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * A listing of objects: what Cloud Storage answers is read as it arrives, in
 * pieces of any size and in a fixed amount of memory, and is written anew.
 * (https://cloud.google.com/storage/docs/json_api/v1/objects/list,
 * https://cloud.google.com/storage/docs/xml-api/get-bucket-list)
 */


/* the longest values that are kept, bytes */
#define NGX_GCS_LIST_NAME_MAX    1024
#define NGX_GCS_LIST_TOKEN_MAX   4096

/* elements within one another */
#define NGX_GCS_LIST_DEPTH       32

/* of a buffer in which every part of a page finds its place */
#define NGX_GCS_LIST_ROOM        49152

/* what the caller must not exceed, bytes */
#define NGX_GCS_LIST_BASE_MAX    2048
#define NGX_GCS_LIST_QUERY_MAX   256


/* the values that are wanted */

typedef enum {
    NGX_GCS_LIST_NAME = 0,
    NGX_GCS_LIST_SIZE,
    NGX_GCS_LIST_UPDATED,
    NGX_GCS_LIST_TYPE,
    NGX_GCS_LIST_GENERATION,
    NGX_GCS_LIST_MD5,
    NGX_GCS_LIST_TOKEN,
    NGX_GCS_LIST_NONE
} ngx_gcs_list_field_e;


/* an object, or what the names of several begin with: a folder */

typedef struct {
    ngx_str_t     name;          /* any bytes, never empty */
    ngx_str_t     updated;       /* of RFC 3339; the rest may be empty */
    ngx_str_t     content_type;
    ngx_str_t     generation;    /* digits */
    ngx_str_t     md5;           /* base64 */
    off_t         size;          /* -1: not told */
    ngx_uint_t    folder;
} ngx_gcs_list_entry_t;


/* nothing in it is the caller's */

typedef struct {
    ngx_uint_t    state;
    ngx_uint_t    depth;
    uint32_t      open[NGX_GCS_LIST_DEPTH];    /* which element */
    u_char        place[NGX_GCS_LIST_DEPTH];   /* what it is to a listing */
    u_char        name[32];                    /* key, element or entity */
    size_t        name_len;
    uint32_t      hash;
    uint32_t      code;                        /* of a character */
    uint32_t      high;                        /* half of a pair */
    ngx_uint_t    count;
    u_char        quote;
    u_char        literal[64];
    size_t        literal_len;

    ngx_uint_t    field;                       /* the one that is read */
    ngx_uint_t    broken;                      /* bits: too long */
    size_t        len[NGX_GCS_LIST_NONE];
    u_char        text[5632];

    char         *reason;                      /* of NGX_ERROR */
    unsigned      xml:1;
    unsigned      done:1;
    unsigned      key:1;                       /* a string that is one */
} ngx_gcs_list_parser_t;


typedef enum {
    NGX_GCS_LIST_JSON = 0,
    NGX_GCS_LIST_JSONL,
    NGX_GCS_LIST_HTML
} ngx_gcs_list_format_e;


/* what is written; the texts are the caller's, and of any bytes */

typedef struct {
    ngx_uint_t    format;        /* ngx_gcs_list_format_e */
    ngx_str_t     bucket;
    ngx_str_t     prefix;        /* of the folder, all names begin with it */
    ngx_str_t     base;          /* our own path of it, ends in a slash;
                                    empty: entries get no URL */
    ngx_str_t     root;          /* how the outermost folder is called */
    ngx_str_t     path;          /* from there to the folder, as of prefix */
    ngx_str_t     narrow;        /* "?prefix=" of the client */
    ngx_str_t     filter;        /* "?q=" of the client */
    ngx_uint_t    limit;         /* "?limit=" of the client; 0: none */
    ngx_uint_t    count;         /* of entries written so far */
} ngx_gcs_list_page_t;


/* for the next answer; xml tells what it is */
void ngx_gcs_list_init(ngx_gcs_list_parser_t *parser, ngx_uint_t xml);

/*
 * Reads on from *pos, and moves it.  NGX_OK: there is an entry, whose texts
 * stay until the next call; call again.  NGX_AGAIN: all has been read up to
 * last.  NGX_ERROR: this is no listing, or one beyond the limits; what is
 * wrong is in parser->reason, for a log line.
 */
ngx_int_t ngx_gcs_list_parse(ngx_gcs_list_parser_t *parser, u_char **pos,
    u_char *last, ngx_gcs_list_entry_t *entry);

/* whether the answer has been read to its end */
ngx_uint_t ngx_gcs_list_done(ngx_gcs_list_parser_t *parser);

/*
 * Of the next page; empty: this is the last one.  Of use when the answer has
 * been read, and until ngx_gcs_list_init().
 */
ngx_str_t ngx_gcs_list_token(ngx_gcs_list_parser_t *parser);


/*
 * Whether the name, behind the prefix of its folder, has text in it, without
 * regard to the case of ASCII letters.  An empty text is in every name.
 */
ngx_uint_t ngx_gcs_list_matches(ngx_str_t *name, size_t prefix,
    ngx_str_t *text);

/*
 * The beginning, an entry and the end of a page, written from p on but not
 * beyond last.  They return the end of the text; or NULL, there is too little
 * room, and nothing has been done.  A buffer of NGX_GCS_LIST_ROOM is enough.
 * The token, if not empty, is of the page that follows and is not going to be
 * written to the same answer.
 */
u_char *ngx_gcs_list_head(ngx_gcs_list_page_t *page, u_char *p, u_char *last);
u_char *ngx_gcs_list_item(ngx_gcs_list_page_t *page,
    ngx_gcs_list_entry_t *entry, u_char *p, u_char *last);
u_char *ngx_gcs_list_tail(ngx_gcs_list_page_t *page, ngx_str_t *token,
    u_char *p, u_char *last);


#endif /* _NGX_GCS_LIST_H_INCLUDED_ */
