
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_LIST_PARTS_H_INCLUDED_
#define _NGX_GCS_LIST_PARTS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_list.h"


/* what the files ngx_gcs_list*.c share */


#define ngx_gcs_list_blank(ch)                                                \
    ((ch) == ' ' || (ch) == '\t' || (ch) == CR || (ch) == LF)

#define NGX_GCS_LIST_REPLACEMENT  0xfffd


/* a name in an answer, and what it is to a listing */

typedef struct {
    char         *name;
    ngx_uint_t    place;
} ngx_gcs_list_name_t;


/* text that is written, up to the end of a buffer */

typedef struct {
    u_char       *pos;
    u_char       *end;
    ngx_uint_t    full;
} ngx_gcs_list_out_t;


/* ngx_gcs_list.c */

/* forgets the values of an entry, before the next one */
void ngx_gcs_list_fresh(ngx_gcs_list_parser_t *parser);

/* begins to read a value; what has been read of it before is forgotten */
void ngx_gcs_list_begin(ngx_gcs_list_parser_t *parser, ngx_uint_t field);

/* adds bytes, or a character, to the value, if one is being read */
ngx_int_t ngx_gcs_list_add(ngx_gcs_list_parser_t *parser, u_char *p,
    size_t n);
ngx_int_t ngx_gcs_list_add_code(ngx_gcs_list_parser_t *parser, uint32_t code);

/* NGX_DONE: the entry as it has been read; NGX_OK: it has no name, read on */
ngx_int_t ngx_gcs_list_take(ngx_gcs_list_parser_t *parser,
    ngx_gcs_list_entry_t *entry, ngx_uint_t folder);

/* sets the reason, and returns NGX_ERROR */
ngx_int_t ngx_gcs_list_error(ngx_gcs_list_parser_t *parser, char *reason);

/* what the name just read is to a listing; or otherwise */
ngx_uint_t ngx_gcs_list_lookup(ngx_gcs_list_name_t *names,
    ngx_gcs_list_parser_t *parser, ngx_uint_t otherwise);


/* ngx_gcs_list_json.c, ngx_gcs_list_xml.c */

/* as ngx_gcs_list_parse() */
ngx_int_t ngx_gcs_list_json(ngx_gcs_list_parser_t *parser, u_char **pos,
    u_char *last, ngx_gcs_list_entry_t *entry);
ngx_int_t ngx_gcs_list_xml(ngx_gcs_list_parser_t *parser, u_char **pos,
    u_char *last, ngx_gcs_list_entry_t *entry);


/* ngx_gcs_list_json_text.c */

/* bytes of a value or of a key, of which more than there is room is nothing */
ngx_int_t ngx_gcs_list_json_bytes(ngx_gcs_list_parser_t *parser, u_char *p,
    size_t n);

/* the first half of a pair that turns out to have no second one */
ngx_int_t ngx_gcs_list_json_lone(ngx_gcs_list_parser_t *parser);

/*
 * What is behind a backslash, and then the four digits of "u".  NGX_AGAIN: it
 * goes on, with a digit.
 */
ngx_int_t ngx_gcs_list_json_escaped(ngx_gcs_list_parser_t *parser, u_char ch);
ngx_int_t ngx_gcs_list_json_digit(ngx_gcs_list_parser_t *parser, u_char ch);

/* whether that is a number, all of it */
ngx_uint_t ngx_gcs_list_json_is_number(u_char *p, u_char *last);


/* ngx_gcs_list_text.c */

/* nothing is written that does not fit as a whole */
void ngx_gcs_list_out(ngx_gcs_list_out_t *out, char *text);
void ngx_gcs_list_out_bytes(ngx_gcs_list_out_t *out, u_char *p, size_t n);
void ngx_gcs_list_out_number(ngx_gcs_list_out_t *out, uint64_t n);

/* inside of quotes; what is no UTF-8 becomes U+FFFD */
void ngx_gcs_list_out_json(ngx_gcs_list_out_t *out, u_char *p, size_t n);
void ngx_gcs_list_out_html(ngx_gcs_list_out_t *out, u_char *p, size_t n);

/* percent-encoded, as a path or as a part of a query */
void ngx_gcs_list_out_path(ngx_gcs_list_out_t *out, u_char *p, size_t n);
void ngx_gcs_list_out_query(ngx_gcs_list_out_t *out, u_char *p, size_t n);

/* a size for people: "17 B", "1.4 KiB" */
void ngx_gcs_list_out_size(ngx_gcs_list_out_t *out, off_t size);


/* ngx_gcs_list_html.c */

/* the parts of a page */
void ngx_gcs_list_html_head(ngx_gcs_list_page_t *page,
    ngx_gcs_list_out_t *out);
void ngx_gcs_list_html_item(ngx_gcs_list_page_t *page,
    ngx_gcs_list_entry_t *entry, ngx_gcs_list_out_t *out);
void ngx_gcs_list_html_tail(ngx_gcs_list_page_t *page, ngx_str_t *token,
    ngx_gcs_list_out_t *out);


/* ngx_gcs_list_page.c */

/* the link to that name behind the folder that is listed */
void ngx_gcs_list_out_link(ngx_gcs_list_page_t *page, ngx_str_t *rest,
    ngx_gcs_list_out_t *out);

/* what follows the prefix of the folder in the name of the entry */
ngx_str_t ngx_gcs_list_rest(ngx_gcs_list_page_t *page,
    ngx_gcs_list_entry_t *entry);

/* whether the entry can be asked for by a URL of ours */
ngx_uint_t ngx_gcs_list_reachable(ngx_gcs_list_page_t *page,
    ngx_gcs_list_entry_t *entry);


#endif /* _NGX_GCS_LIST_PARTS_H_INCLUDED_ */
